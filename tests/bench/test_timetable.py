"""Figures of timetables that are short enough to count by hand."""

from bench.timetable import Run, figures, gaps_ms, overtakes, quantile, swaps


def run(worker: str, group: str, submitted: int, started: int, ended: int) -> Run:
    return Run(worker, group, submitted, started, ended, 0)


def test_swaps_are_counted_per_worker_and_the_first_counts() -> None:
    runs = [
        run("1", "b", 0, 20, 30),
        run("1", "a", 0, 0, 10),
        run("2", "b", 0, 5, 15),
        run("1", "a", 0, 10, 20),
    ]
    assert swaps(runs) == 3
    assert swaps([run("1", "", 0, 0, 10)]) == 0


def test_overtakes_count_pairs_beyond_the_window() -> None:
    runs = [
        run("1", "a", 0, 3_000, 0),
        run("1", "a", 1_000, 0, 0),
        run("1", "a", 1_001, 1_000, 0),
        run("1", "a", 2_500, 2_000, 0),
    ]
    assert overtakes(runs, 1) == 2
    assert overtakes(runs, 2) == 1
    assert overtakes(runs, 2.5) == 0


def test_jobs_that_start_together_do_not_overtake_each_other() -> None:
    assert overtakes([run("1", "a", 9_000, 10_000, 0), run("2", "a", 0, 10_000, 0)], 1) == 0


def test_figures() -> None:
    runs = [Run("1", "a", 1_000, 1_000, 4_000, 500), Run("1", "a", 2_000, 4_000, 6_000, 0)]
    assert figures(runs, 1) == (1, 5.0, 0.5, 1.0, 2.0, 2.0, 0)


def test_gaps_are_those_of_one_worker() -> None:
    runs = [run("1", "a", 0, 0, 10), run("2", "a", 0, 1, 50), run("1", "a", 0, 17, 20)]
    assert gaps_ms(runs) == [7]


def test_a_quantile_is_one_of_the_values() -> None:
    hundred = list(range(1, 101))
    assert [quantile(hundred, share) for share in (0, 0.5, 0.95, 0.99, 1)] == [1, 50, 95, 99, 100]
    assert quantile([3.0], 0.99) == 3.0
