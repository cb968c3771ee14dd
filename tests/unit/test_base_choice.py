"""The choice between a worker's bases: examples, and what changing costs over a long run."""

from collections import Counter

import pytest

from lorajobs.base_choice import PATIENCE, Candidate, choose_base
from lorajobs.snapshot import WaitingJob

S = 1_000_000


def a_candidate(model: str, waited_s: float, change_s: float = 0, **other: int) -> Candidate:
    """A job that has waited so long at the time 1000 s."""
    since_us = int((1000 - waited_s) * S)
    fields = {"window_us": 10 * S, "elsewhere": 0, "idle_elsewhere": 0, **other}
    job = WaitingJob(model, since_us, "")
    return Candidate(model, job, 1000 * S, since_us, int(change_s * S), **fields)


def chosen(*candidates: Candidate, soon: bool = False) -> str | None:
    found = choose_base(candidates, soon=soon)
    return found.model if found else None


def test_nothing_waits() -> None:
    assert chosen() is None


def test_the_loaded_base_goes_on() -> None:
    assert chosen(a_candidate("loaded", 1), a_candidate("other", 20, change_s=3)) == "loaded"


def test_until_another_has_waited_much_longer() -> None:
    other = a_candidate("other", 1 + 3 * PATIENCE + 1, change_s=3)
    assert chosen(a_candidate("loaded", 1), other) == "other"


def test_a_quick_change_still_waits_for_the_window() -> None:
    assert chosen(a_candidate("loaded", 0), a_candidate("other", 9, change_s=0.1)) == "loaded"
    assert chosen(a_candidate("loaded", 0), a_candidate("other", 11, change_s=0.1)) == "other"


def test_an_idle_worker_changes_at_once_if_nobody_else_serves_the_base() -> None:
    assert chosen(a_candidate("other", 0, change_s=25)) == "other"


def test_unless_the_loaded_base_has_work_in_a_moment() -> None:
    assert chosen(a_candidate("other", 9, change_s=10), soon=True) is None
    assert chosen(a_candidate("other", 11, change_s=10), soon=True) == "other"


def test_but_leaves_a_job_to_who_has_its_base_until_it_has_waited_for_a_change() -> None:
    assert chosen(a_candidate("other", 24, change_s=25, elsewhere=1)) is None
    assert chosen(a_candidate("other", 26, change_s=25, elsewhere=1)) == "other"


def test_and_longer_to_who_has_it_and_is_idle() -> None:
    idle = {"elsewhere": 1, "idle_elsewhere": 1}
    assert chosen(a_candidate("other", 26, change_s=25, **idle)) is None
    assert chosen(a_candidate("other", 51, change_s=25, **idle)) == "other"


def test_it_is_the_job_that_must_have_waited_not_its_key() -> None:
    # Another worker takes one of the key's many jobs each second, so its turn never comes late.
    backlog = a_candidate("other", 26, change_s=25, elsewhere=1)
    assert chosen(backlog._replace(since_us=999 * S)) == "other"


def test_of_several_the_one_that_waits_longest() -> None:
    few = [a_candidate("young", 5, change_s=3), a_candidate("old", 6, change_s=3)]
    assert chosen(*few) == "old"


@pytest.mark.parametrize("change_s", [0.1, 1.0, 25.0])
@pytest.mark.parametrize("service_s", [1.0, 8.5])
@pytest.mark.parametrize("jobs", [200, 287, 400])
def test_two_bases_that_always_have_work_share_a_worker_and_changing_costs_little(
    change_s: float, service_s: float, jobs: int
) -> None:
    # Each base's oldest job has waited since the base was served last: both queues are long.
    now_us, loaded, lost_us = 1000 * S, "a", 0
    since = {"a": now_us, "b": now_us}
    served: Counter[str] = Counter()
    while served.total() < jobs * max(1, change_s):
        candidates = [
            Candidate(
                *(model, WaitingJob(model, since[model], ""), now_us, since[model]),
                *(0 if model == loaded else int(change_s * S), 10 * S, 0, 0),
            )
            for model in ("a", "b")
        ]
        taken = choose_base(candidates)
        assert taken is not None
        now_us += taken.change_us
        lost_us += taken.change_us
        loaded = taken.model
        served[loaded] += 1
        now_us += int(service_s * S)
        since[loaded] = now_us
    assert lost_us <= 0.2 * (now_us - 1000 * S)
    assert min(served.values()) > 0.25 * served.total()
