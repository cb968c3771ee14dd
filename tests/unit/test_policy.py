"""The choice of the next job: examples, and the bound on overtaking as a property."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lorajobs.policy import choose
from lorajobs.store import Snapshot, WaitingGroup, WaitingJob

WINDOW_US = 10_000


def a_snapshot(
    jobs: list[WaitingJob], loaded: str = "", elsewhere: frozenset[str] = frozenset()
) -> Snapshot:
    """What a store shows of these jobs, at the policy's window."""
    waiting = sorted(jobs, key=lambda job: (job.score_us, job.id))
    groups: dict[str, list[WaitingJob]] = {}
    for job in waiting:
        groups.setdefault(job.group, []).append(job)
    return Snapshot(
        now_us=10**6,
        waiting=waiting[:32],
        loaded=groups.get(loaded, [None])[0],
        groups=[
            WaitingGroup(members[0], len(members), group in elsewhere)
            for group, members in groups.items()
            if members[0].score_us <= waiting[0].score_us + WINDOW_US
        ],
    )


def chosen(snapshot: Snapshot, here: frozenset[str] | None = None) -> str | None:
    is_here = (lambda group: True) if here is None else here.__contains__
    choice = choose(snapshot, WINDOW_US, is_here)
    return choice.id if choice else None


def test_nothing_waits() -> None:
    assert chosen(a_snapshot([])) is None


def test_what_is_applied_goes_on() -> None:
    jobs = [WaitingJob("old", 0, "a"), WaitingJob("mine", 5_000, "b")]
    assert chosen(a_snapshot(jobs, loaded="b")) == "mine"


def test_but_not_beyond_the_window() -> None:
    jobs = [WaitingJob("old", 0, "a"), WaitingJob("mine", 10_001, "b")]
    assert chosen(a_snapshot(jobs, loaded="b")) == "old"


def test_the_base_alone_is_a_group_too() -> None:
    jobs = [WaitingJob("old", 0, "a"), WaitingJob("bare", 1, "")]
    assert chosen(a_snapshot(jobs, loaded="")) == "bare"


def test_a_swap_goes_to_the_largest_group() -> None:
    jobs = [WaitingJob("old", 0, "a"), WaitingJob("b1", 1, "b"), WaitingJob("b2", 2, "b")]
    assert chosen(a_snapshot(jobs, loaded="x")) == "b1"


def test_of_equal_groups_to_the_older() -> None:
    jobs = [WaitingJob("b1", 1, "b"), WaitingJob("old", 0, "a")]
    assert chosen(a_snapshot(jobs, loaded="x")) == "old"


def test_a_group_that_another_worker_serves_is_left_to_it() -> None:
    jobs = [WaitingJob("a1", 0, "a"), WaitingJob("a2", 1, "a"), WaitingJob("b1", 2, "b")]
    snapshot = a_snapshot(jobs, loaded="x", elsewhere=frozenset({"a"}))
    assert chosen(snapshot) == "b1"


def test_unless_nothing_else_waits() -> None:
    jobs = [WaitingJob("a1", 0, "a"), WaitingJob("a2", 1, "a")]
    assert chosen(a_snapshot(jobs, loaded="x", elsewhere=frozenset({"a"}))) == "a1"


def test_what_is_on_this_machine_comes_first() -> None:
    jobs = [WaitingJob("a1", 0, "a"), WaitingJob("a2", 1, "a"), WaitingJob("b1", 2, "b")]
    assert chosen(a_snapshot(jobs, loaded="x"), here=frozenset({"b"})) == "b1"
    assert chosen(a_snapshot(jobs, loaded="x"), here=frozenset()) == "a1"


JOBS = st.lists(
    st.tuples(st.integers(0, 40_000), st.sampled_from(["", "a", "b", "c"])), min_size=1, max_size=60
)


@given(JOBS, st.sampled_from(["", "a", "b", "x"]), st.sets(st.sampled_from(["a", "b", "c"])))
def test_no_job_is_overtaken_beyond_the_window(
    rows: list[tuple[int, str]], loaded: str, elsewhere: set[str]
) -> None:
    jobs = [WaitingJob(f"{i:03d}", score, group) for i, (score, group) in enumerate(rows)]
    choice = chosen(a_snapshot(jobs, loaded, frozenset(elsewhere)))
    taken = next(job for job in jobs if job.id == choice)
    assert taken.score_us <= min(job.score_us for job in jobs) + WINDOW_US
    # Never a younger job of the same group before an older one.
    assert not [j for j in jobs if j.group == taken.group and j.score_us < taken.score_us]


@settings(max_examples=30)
@given(JOBS)
def test_every_job_is_served_and_swaps_are_few_in_a_burst(rows: list[tuple[int, str]]) -> None:
    left = [WaitingJob(f"{i:03d}", score % 1000, group) for i, (score, group) in enumerate(rows)]
    loaded, swaps, groups = "", 0, {job.group for job in left} - {""}
    while left:
        choice = chosen(a_snapshot(left, loaded))
        (taken,) = (job for job in left if job.id == choice)
        left.remove(taken)
        swaps += taken.group != loaded
        loaded = taken.group
    assert swaps == len(groups)
