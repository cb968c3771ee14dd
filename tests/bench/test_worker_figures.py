"""What is told of bursts: each device's share of work, and what more devices bring."""

import pytest

from bench.turns import Span, Turn
from bench.worker_figures import Answer, Row, answers, goals, panels, scaling, throughput


def turn(seed: int, begin: float, gb: float = 1.0) -> Turn:
    """Two steps of 1 s with half a second between them."""
    spans = [Span("denoise", begin, begin + 1), Span("denoise", begin + 1.5, begin + 2.5)]
    marks = {"apply": begin - 0.25, "generate": begin, "made": begin + 2.75}
    return Turn(seed, spans, marks, gb)


#: 4 pictures in 12 s, and 5 in 10 by two devices.
ONE = Row("ours", 64, 0, 12, [[turn(seed, 3 * seed) for seed in range(4)]], [0.1] * 5, 0.5, "gpu")
TWO = Row(
    *("ours", 64, 0, 10),
    [[turn(seed, 3 * seed) for seed in range(3)], [turn(7, 1, 2.5), turn(8, 5)]],
    [0.1] * 7,
    None,
)


def answer(need: str, claimed: float, fetch: float, took: float = 9.0) -> Answer:
    metrics = {"base_s": 0.0, "fetch_s": fetch, "swap_s": 0.5, "generate_s": 1.0}
    return Answer(need, claimed, took, {"input": {"loras": [{"id": need}]}, "metrics": metrics})


def test_what_an_unseen_adapter_adds_is_beyond_its_own_copy_and_hash() -> None:
    found = [
        *(answer("loaded", 0.1, 0.0) for _ in range(3)),
        answer("unseen", 1.1, 0.25),
        answer("disk", 0.1, 0.05, took=20.0),
    ]
    part = answers(found, {"unseen": 1.0}.__getitem__)
    assert part.figures["answer_unseen"]["copy_and_hash_p50_ms"] == 1000
    # 1 s until its claim and 0.25 in the worker more than the loaded one.
    assert part.figures["answer_unseen"]["beyond_p50_ms"] == pytest.approx(250)
    met = {goal.what.partition(",")[0]: goal.met for goal in goals(part.figures, 64)}
    assert met == {
        "an adapter adds in its worker": True,
        "an unseen adapter adds until its picture": False,
    }


def test_each_device_has_its_own_work_and_gaps() -> None:
    assert list(TWO.busy) == [pytest.approx(0.75), pytest.approx(0.5)]
    assert TWO.calls == pytest.approx((0.6 + 0.4) / 2)
    # 0.5 s between those of the first, 1.5 of the second; none across.
    assert (TWO.gap_ms(0.5), TWO.gap_ms(1.0)) == (500, 1500)
    figures = TWO.figures()
    assert (figures["gpus"], figures["jobs"], figures["reserved_gb"]) == (2, 5, 2.5)
    assert figures["busy_each"] == [0.75, 0.5]


def test_a_device_with_a_single_picture_has_no_gap() -> None:
    assert ONE._replace(lanes=[[turn(1, 0)]]).gap_ms(0.5) == 0


def test_more_devices_are_held_against_the_fewest() -> None:
    part = scaling([ONE, TWO])
    assert part.figures["scaling_ours_64_2gpus"] == {
        "images_per_s": 0.5,
        "speedup": 1.5,
        "swaps": 7,
        "pictures_each": [3, 2],
    }
    assert [(g.reached, g.target, g.met) for g in part.goals] == [
        (1.5, "≥ 1.95", False),
        (7, "≤ 6", False),
    ]
    better = TWO._replace(end=6.15, swaps=[0.1] * 6)
    assert all(goal.met for goal in scaling([ONE, better]).goals)
    assert scaling([ONE]).goals == []


def test_every_row_has_a_name_and_a_cell_for_each_column() -> None:
    part = throughput([ONE, TWO, ONE._replace(way="usual", end=24)])
    assert list(part.figures) == ["ours_64", "ours_64_2gpus", "usual_64"]
    assert part.figures["ours_64"]["ratio"] == 2
    assert {len(row) for row in part.rows} == {len(part.columns)}
    drawn = panels({**part.figures, **scaling([ONE, TWO]).figures})
    assert list(drawn[0].places) == ["ours 64", "ours 64 2gpus", "usual 64"]
