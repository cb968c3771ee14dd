"""What a worker did and when, as the store notes it: also of one that died and told nobody.

Marks are written by the same scripts that claim, renew and end a job, so they cost no round trip.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from lorajobs.jobs import JobStatus, Stage

#: `adapters` is fetch and swap together, of an attempt that has not told yet how long each took.
Kind = Literal["base", "adapters", "fetch", "swap", "generate", "upload"]
#: A job's mark when it is claimed, and a worker's when it leaves in order.
CLAIMED, LEFT = "claimed", "left"

_KINDS: Mapping[str, Kind] = {
    CLAIMED: "adapters",
    Stage.LOADING_BASE: "base",
    Stage.LOADING_ADAPTER: "adapters",
    Stage.DENOISING: "generate",
    Stage.DECODING: "generate",
    Stage.UPLOADING: "upload",
}
_ENDS = frozenset(status for status in JobStatus if status is not JobStatus.RUNNING)


class Mark(NamedTuple):
    """From this moment on, by the store's clock, the worker or one of its jobs is at something."""

    at_ms: int
    #: a stage of a job, `claimed` or how its attempt ended; else a state of the worker, or `left`
    what: str
    #: empty if it is of the worker itself
    job_id: str = ""
    #: at `claimed` base and group, at an end the seconds of fetch and swap, at a state the base
    detail: str = ""

    @classmethod
    def parse(cls, at_ms: int, text: str) -> "Mark":
        """The inverse of `mark` in `lua/keys.lua`."""
        what, job_id, detail = text.split(" ", 2)
        return cls(at_ms, what, job_id, detail)


class Part(NamedTuple):
    """A part of an attempt; times are Unix milliseconds of the store."""

    kind: Kind
    since_ms: int
    #: None while it lasts
    until_ms: int | None


class Run(NamedTuple):
    """One attempt as its worker's strip shows it, oldest part first."""

    job_id: str
    #: its base and the group of its adapters; empty if what began it is forgotten
    model: str
    group: str
    parts: tuple[Part, ...]
    #: the job's status after it: `queued` if it was put back; None while it lasts
    ended: str | None


class State(NamedTuple):
    """What the worker was since then, as `WorkerState.state`, or `left`."""

    state: str
    model: str
    since_ms: int


class Timeline(NamedTuple):
    """All that is remembered of one worker."""

    states: tuple[State, ...] = ()
    runs: tuple[Run, ...] = ()


def timeline_of(marks: Sequence[Mark], since_ms: int = 0) -> Timeline:
    """Puts marks, oldest first, together; without what ended before `since_ms`."""
    by_job: dict[str, list[Mark]] = {}
    runs: list[Run] = []
    for mark in (mark for mark in marks if mark.job_id):
        begun = by_job.setdefault(mark.job_id, [])
        if mark.what == CLAIMED:
            # A second attempt, and nobody told the end of the first.
            begun.clear()
        begun.append(mark)
        if mark.what in _ENDS:
            runs.append(_run(by_job.pop(mark.job_id)))
    runs += [_run(begun) for begun in by_job.values()]
    own = [mark for mark in marks if not mark.job_id]
    states = [State(state=m.what, model=m.detail, since_ms=m.at_ms) for m in own]
    # The state at the beginning counts too.
    earlier = max(sum(mark.at_ms < since_ms for mark in own) - 1, 0)
    lasting = (run for run in runs if run.parts and _until(run, since_ms) >= since_ms)
    return Timeline(
        states=tuple(states[earlier:]),
        runs=tuple(sorted(lasting, key=lambda run: run.parts[0].since_ms)),
    )


def _until(run: Run, else_ms: int) -> int:
    until_ms = run.parts[-1].until_ms
    return else_ms if until_ms is None else until_ms


def _run(marks: Sequence[Mark]) -> Run:
    first, last = marks[0], marks[-1]
    is_begun, is_ended = first.what == CLAIMED, last.what in _ENDS
    # A base's id may hold spaces, a group never does.
    model, _, group = first.detail.rpartition(" ") if is_begun else ("", "", "")
    fetch_s, swap_s = map(float, last.detail.split()) if is_ended and last.detail else (0.0, 0.0)
    return Run(
        job_id=first.job_id,
        model=model,
        group=group,
        parts=tuple(_divided(_parts(marks), fetch_s, swap_s)),
        ended=last.what if is_ended else None,
    )


def _parts(marks: Sequence[Mark]) -> Sequence[Part]:
    """One part for each kind in a row."""
    parts: list[Part] = []
    ends = [*(mark.at_ms for mark in marks[1:]), None]
    for mark, until_ms in zip(marks, ends, strict=True):
        kind = _KINDS.get(mark.what)
        if kind is None:
            continue
        if parts and parts[-1].kind == kind:
            parts[-1] = parts[-1]._replace(until_ms=until_ms)
        else:
            parts.append(Part(kind=kind, since_ms=mark.at_ms, until_ms=until_ms))
    return parts


def _divided(parts: Sequence[Part], fetch_s: float, swap_s: float) -> Iterator[Part]:
    """Tells fetch and swap apart, once it is known how long each took."""
    known = fetch_s + swap_s
    last = max((n for n, part in enumerate(parts) if part.kind == "adapters"), default=-1)
    for number, part in enumerate(parts):
        if number != last or not known or part.until_ms is None:
            yield part
            continue
        took_ms = part.until_ms - part.since_ms
        between_ms = part.since_ms + round(took_ms * fetch_s / known)
        if between_ms > part.since_ms:
            yield Part(kind="fetch", since_ms=part.since_ms, until_ms=between_ms)
        if between_ms < part.until_ms:
            yield Part(kind="swap", since_ms=between_ms, until_ms=part.until_ms)
