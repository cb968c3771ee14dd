"""`/v1/usage` of some days, and what an admin may ask for another key."""

import time
from datetime import date, timedelta

import pytest

from lorajobs.usage import KEPT_DAYS, day_of
from tests.shelf import Shelf
from tests.unit.web.api import problem_of
from tests.unit.web.keyed import Keyed, Shared

#: For a test that runs over midnight both days are today.
TODAY = day_of(int(time.time() * 1000))


@pytest.fixture
def shared(shelf: Shelf) -> Shared:
    shared = Shared(shelf)
    shared.api.clock.now_ms = int(time.time() * 1000)
    return shared


def finish(who: Keyed, pictures: int, days_ago: int = 0) -> str:
    """Lets a job of the key end, days ago."""
    job_id = who.submit()
    who.api.clock.advance(-86_400 * days_ago)
    who.api.finish(job_id, [b"data"] * pictures)
    who.api.clock.advance(86_400 * days_ago)
    return job_id


def used(who: Keyed, query: str) -> dict[str, int]:
    """Pictures by key."""
    answer = who.get(f"/v1/usage?{query}")
    assert answer.status_code == 200, answer.text
    return {row["key"]: row["pictures"] for row in answer.get_json()["usage"]}


def day(ago: int) -> date:
    return TODAY - timedelta(ago)


def test_use_is_told_for_days(shared: Shared) -> None:
    anna, ben, root = shared.anna, shared.ben, shared.root
    finish(anna, 1)
    finish(anna, 2, days_ago=3)
    finish(ben, 4, days_ago=5)
    assert used(root, "") == {anna.key.id: 3, ben.key.id: 4}
    assert used(root, f"since={day(4)}") == {anna.key.id: 3}
    assert used(root, f"since={day(9)}&until={day(3)}") == {anna.key.id: 2, ben.key.id: 4}
    assert used(root, f"since={day(5)}&until={day(5)}") == {ben.key.id: 4}
    assert used(anna, f"since={day(9)}") == {anna.key.id: 3}
    answer = root.get(f"/v1/usage?by=model&since={day(4)}&until=9999-12-31").get_json()
    assert (answer["since"], answer["usage"][0]["pictures"]) == (str(day(4)), 3)
    assert answer["until"] in (str(day(0)), str(day(-1)))
    assert root.get("/v1/usage").get_json()["since"] is None
    future = root.get("/v1/usage?since=9999-12-31").get_json()
    assert (future["since"], future["until"], future["usage"]) == ("9999-12-31", "9999-12-31", [])


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("since=yesterday", "/since"),
        ("since=2026-02-30", "/since"),
        ("since=20261101", "/since"),
        ("until=2026-11-01", ""),
        (f"since={day(0)}&until={day(1)}", ""),
        (f"since={day(KEPT_DAYS + 1)}", "/since"),
        ("owner=a&owner=b", "/owner"),
    ],
)
def test_wrong_days_are_refused(shared: Shared, query: str, pointer: str) -> None:
    document = problem_of(shared.root.get(f"/v1/usage?{query}"), 422, "validation")
    assert [error["pointer"] for error in document["errors"]] == [pointer]


def test_an_admin_may_ask_for_one_key(shared: Shared) -> None:
    anna, ben, root = shared.anna, shared.ben, shared.root
    job_id = finish(anna, 1)
    finish(ben, 2)
    assert used(root, f"owner={anna.key.id}") == {anna.key.id: 1}
    assert root.ids(f"/v1/jobs?owner={anna.key.id}") == {job_id}
    assert root.ids("/v1/jobs?owner=") == root.ids("/v1/jobs?owner=nobody") == set()
    assert len(root.ids("/v1/jobs")) == 2


def test_others_may_ask_for_their_own_alone(shared: Shared) -> None:
    anna, ben = shared.anna, shared.ben
    job_id = finish(anna, 1)
    assert used(anna, f"owner={anna.key.id}") == {anna.key.id: 1}
    assert anna.ids(f"/v1/jobs?owner={anna.key.id}") == {job_id}
    for path in ("/v1/jobs", "/v1/usage"):
        for other in (ben.key.id, "", "nobody"):
            problem_of(anna.get(f"{path}?owner={other}"), 403, "scope_missing")
