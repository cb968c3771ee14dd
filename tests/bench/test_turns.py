"""Intervals of a device: what counts as work, and what lies between."""

from pathlib import Path

import pytest

from bench.turns import Span, Turn, busy_s, gaps, line, read


def turn(seed: int, begin: float) -> Turn:
    """Encodes for 1 s, then two steps of 2 s with a second between them, then a decode of 1 s."""
    spans = [
        Span("encode", begin, begin + 1),
        Span("denoise", begin + 1, begin + 3),
        Span("denoise", begin + 4, begin + 6),
        Span("decode", begin + 6, begin + 7),
    ]
    marks = {"apply": begin - 0.5, "generate": begin - 0.25, "made": begin + 7.5}
    return Turn(seed, spans, marks)


def test_work_that_overlaps_counts_once() -> None:
    spans = [Span("a", 0, 4), Span("b", 1, 2), Span("c", 3, 5), Span("d", 7, 8)]
    assert busy_s(spans) == busy_s(spans[::-1]) == 6
    assert busy_s([]) == 0


def test_a_whole_turn_holds_what_lies_between_its_steps() -> None:
    one = turn(7, 10)
    assert busy_s(one.spans) == 6
    assert busy_s(one.whole()) == 7
    assert (one.seconds("denoise"), one.seconds("encode"), one.seconds("fuse")) == (5, 1, 0)
    assert (one.begin, one.end) == (10, 17)


def test_a_turn_without_steps_has_its_own_work_only() -> None:
    spans = [Span("encode", 0, 1)]
    assert list(Turn(1, spans, {}).whole()) == spans


def test_a_gap_is_told_apart_by_what_the_host_did() -> None:
    (gap,) = gaps([turn(1, 0), turn(2, 10)])
    assert gap.seed == 2
    assert (gap.out, gap.handover, gap.before) == (0.5, 2.0, 0.5)
    assert gap.whole == pytest.approx(3)


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    turns = [turn(1, 0), turn(2, 10)._replace(reserved_gb=18.5)]
    file = tmp_path / "turns.jsonl"
    file.write_text("".join(map(line, turns)))
    assert read(file) == turns
