"""The simulated queue is exact: timetables worked out by hand."""

from bench.demand import BASE, OTHER_BASE, Arrival, poisson
from bench.disk import Disk
from bench.policies import FIFO, STICKY, Policy, ours
from bench.simulation import Costs, Simulation, spec_of
from bench.timetable import Run, figures, overtakes

COSTS = Costs("test", job_ms=10_000, swap_ms=3_000)
A, B = spec_of(BASE, "a").group, spec_of(BASE, "b").group


def at_once(*adapters: str) -> list[Arrival]:
    return [Arrival(0, BASE, adapter) for adapter in adapters]


def simulate(
    policy: Policy, arrivals: list[Arrival], workers: int = 1, disk: Disk | None = None
) -> list[Run]:
    return Simulation(policy, COSTS, [BASE] * workers, disk).run(arrivals).runs


def times(runs: list[Run]) -> list[tuple[str, int, int]]:
    return [(run.group, run.started_ms, run.ended_ms) for run in runs]


def test_fifo_swaps_as_often_as_the_adapters_change() -> None:
    runs = simulate(FIFO, at_once("a", "b", "a"))
    assert times(runs) == [(A, 0, 13_000), (B, 13_000, 26_000), (A, 26_000, 39_000)]
    assert figures(runs, 0).swaps == 3
    assert figures(runs, 0).lost_s == 9


def test_ours_takes_what_is_applied_first() -> None:
    runs = simulate(ours(10), at_once("a", "b", "a"))
    assert times(runs) == [(A, 0, 13_000), (A, 13_000, 23_000), (B, 23_000, 36_000)]
    assert figures(runs, 10).swaps == 2


def test_two_workers_share_the_jobs_and_keep_their_adapters() -> None:
    runs = simulate(ours(10), at_once("a", "b", "a", "b"), workers=2)
    assert sorted(times(runs)) == sorted(
        [(A, 0, 13_000), (B, 0, 13_000), (A, 13_000, 23_000), (B, 13_000, 23_000)]
    )
    assert {(run.worker, run.group) for run in runs} == {("worker-0", A), ("worker-1", B)}


def test_workers_that_begin_later_find_the_whole_burst() -> None:
    waiting = at_once("a", "b", "b")
    runs = Simulation(ours(10), COSTS, [BASE], from_ms=1).run(waiting).runs
    assert times(runs) == [(B, 1, 13_001), (B, 13_001, 23_001), (A, 23_001, 36_001)]


def test_the_window_holds_in_the_simulation_and_sticky_has_none() -> None:
    # Every other job of one adapter would keep a sticky worker from the first b.
    arrivals = [Arrival(0, BASE, "a"), Arrival(1, BASE, "b")]
    arrivals += [Arrival(n * 9_000, BASE, "a") for n in range(1, 6)]
    sticky, windowed = (simulate(policy, arrivals) for policy in (STICKY, ours(10)))
    assert [run.group for run in sticky] == [A, A, A, A, A, A, B]
    assert overtakes(sticky, 10) == 4
    assert [run.group for run in windowed] == [A, A, B, A, A, A, A]
    assert overtakes(windowed, 10) == 0


def test_each_base_has_its_own_queue_and_workers() -> None:
    arrivals = [Arrival(0, BASE, "a"), Arrival(0, OTHER_BASE, "x"), Arrival(0, OTHER_BASE, "x")]
    seen = Simulation(FIFO, COSTS, [BASE, OTHER_BASE]).run(arrivals)
    assert [(r.worker, r.ended_ms) for r in seen.runs] == [
        ("worker-0", 13_000),
        ("worker-1", 13_000),
        ("worker-1", 23_000),
    ]


def test_a_job_starts_at_the_first_look_after_its_adapter_has_come() -> None:
    disk = Disk(capacity=10, download_ms=480)
    (run,) = simulate(ours(10), at_once("a"), disk=disk)
    # The fetcher looks at 500 ms, the file is here at 980, the held ticket is looked at at 1,000.
    assert run.started_ms == 1_000
    assert disk.downloads == 1


def test_a_job_whose_adapter_is_here_goes_first() -> None:
    disk = Disk(capacity=10, download_ms=5_000)
    disk.use(B)
    runs = simulate(ours(10), [Arrival(0, BASE, "a"), Arrival(1, BASE, "b")], disk=disk)
    # The ticket that came with the first job was held until 200 ms.
    assert times(runs) == [(B, 200, 13_200), (A, 13_200, 26_200)]


def test_a_queue_that_floods_ends_the_simulation() -> None:
    seen = Simulation(FIFO, COSTS, [BASE], most_waiting=3).run(at_once(*"abcdefgh"))
    assert seen.flooded == {BASE}
    assert seen.runs == []


def test_the_backlog_is_what_each_job_finds_before_it() -> None:
    seen = Simulation(FIFO, COSTS, [BASE]).run(at_once("a", "a", "a"))
    assert seen.backlog[BASE] == [(0, 0), (0, 0), (0, 1)]


def test_a_seed_gives_the_same_timetable_again() -> None:
    first, again, other = (
        simulate(ours(10), list(poisson(50, 5, 0.1, seed)), workers=2) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(first) == 50


def test_the_disk_forgets_what_was_used_longest_ago() -> None:
    disk = Disk(capacity=2, download_ms=100)
    for adapter in ("a", "b", "a", "c"):
        disk.use(adapter)
    assert [disk.has(name) for name in "abc"] == [True, False, True]


def test_downloads_share_one_link() -> None:
    disk = Disk(capacity=2, download_ms=100)
    assert [disk.order("a", 0), disk.order("a", 10), disk.order("b", 20)] == [100, None, 200]
    disk.use("a")
    assert disk.order("a", 300) is None
    assert disk.downloads == 2
