"""When a device worked on which picture, and when it waited: seconds of one clock."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

#: The kinds of work, in their order.
KINDS = ("fuse", "encode", "denoise", "decode")
_DENOISE = "denoise"


class Span(NamedTuple):
    """Work of one kind on the device."""

    kind: str
    begin: float
    end: float


class Turn(NamedTuple):
    """One picture: what the device did for it, and when the host entered each stage."""

    seed: int
    spans: Sequence[Span]
    #: `apply`, `generate` and `made`
    marks: Mapping[str, float]
    #: the most of the device's memory that the process has held so far, GB
    reserved_gb: float = 0.0

    @property
    def begin(self) -> float:
        """Of its first work."""
        return min(span.begin for span in self.spans)

    @property
    def end(self) -> float:
        """Of its last."""
        return max(span.end for span in self.spans)

    def whole(self) -> Sequence[Span]:
        """Its work with all steps as one, from the first's begin to the last's end."""
        steps = [span for span in self.spans if span.kind == _DENOISE]
        others = [span for span in self.spans if span.kind != _DENOISE]
        if not steps:
            return others
        return [*others, Span(_DENOISE, min(s.begin for s in steps), max(s.end for s in steps))]

    def seconds(self, kind: str) -> float:
        """How long one kind of its work took, with what lay between its parts."""
        return sum(span.end - span.begin for span in self.whole() if span.kind == kind)


class Gap(NamedTuple):
    """What lies between the work on two pictures, by what the host did meanwhile; seconds."""

    #: of the second picture
    seed: int
    #: until the host is done with the first one: the usual way, its bytes come from the device and
    #: are looked at; ours is below 0 by as much as the host is ahead of the device
    out: float
    #: from its engine call's end to the next one's begin: queue, store, files
    handover: float
    #: until the next work: an adapter read into memory, a prompt made into tokens, what else the
    #: device has to do
    before: float

    @property
    def whole(self) -> float:
        """All of it."""
        return self.out + self.handover + self.before


def read(path: Path) -> Sequence[Turn]:
    """The turns of a file, one a line, in the order in which they ended."""
    return [_turn(json.loads(line)) for line in path.read_text().splitlines()]


def line(turn: Turn) -> str:
    """A turn as one line of a file."""
    return json.dumps([turn.seed, turn.spans, turn.marks, turn.reserved_gb]) + "\n"


def busy_s(spans: Iterable[Span]) -> float:
    """How long at least one of them lasted."""
    total, until = 0.0, float("-inf")
    for span in sorted(spans, key=lambda span: span.begin):
        total += max(0.0, span.end - max(span.begin, until))
        until = max(until, span.end)
    return total


def gaps(turns: Sequence[Turn]) -> Sequence[Gap]:
    """What lies between each turn and the next."""
    return [_gap(one, other) for one, other in pairwise(turns)]


def _gap(one: Turn, other: Turn) -> Gap:
    made, applied = one.marks["made"], other.marks["apply"]
    return Gap(other.seed, made - one.end, applied - made, other.begin - applied)


def _turn(
    row: tuple[int, Sequence[tuple[str, float, float]], Mapping[str, float], float],
) -> Turn:
    seed, spans, marks, reserved_gb = row
    return Turn(seed, [Span(*span) for span in spans], marks, reserved_gb)
