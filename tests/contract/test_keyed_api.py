"""Keys, turns and repeated submits through the API on a real Valkey."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import redis
from werkzeug.test import TestResponse

from lorajobs.api_keys import ApiKey, Scope, create
from lorajobs.errors import StoreUnavailable
from lorajobs.job_page import JobFilter
from lorajobs.policy import choose
from lorajobs.redis_client import connect
from lorajobs.redis_keys import open_api_keys
from lorajobs.redis_store import RedisJobStore, open_job_store
from lorajobs.settings import Settings
from tests.jobs import lease_of
from web import Deps, create_app

BODY = {"model": "demo", "prompt": "a red heart"}
SCOPES = (Scope.SUBMIT, Scope.READ)


class Place:
    """One API, and any number of keys."""

    def __init__(self, settings: Settings, **parts: Any) -> None:
        self.settings = settings
        self.deps = replace(Deps.open(settings), **parts)
        self.app = create_app(self.deps)
        self.keys = open_api_keys(settings)

    def key(self, name: str, **limits: Any) -> tuple[ApiKey, str]:
        return create(self.keys, name, SCOPES, **limits)

    def submit(self, secret: str | None, name: str | None, **fields: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        if name is not None:
            headers["Idempotency-Key"] = name
        # One for each request, for several threads ask.
        return self.app.test_client().post("/v1/jobs", json=BODY | fields, headers=headers)

    def waiting(self) -> int:
        return self.deps.fleet.backlog().get("demo", 0)


@pytest.fixture
def place(valkey_url: str, tmp_path: Path) -> Iterator[Place]:
    with redis.Redis.from_url(valkey_url) as server:
        server.flushdb()
        yield Place(Settings(redis_url=valkey_url, data_dir=tmp_path))
        server.flushdb()


def test_a_key_of_the_store_opens_the_api_to_its_holder(place: Place) -> None:
    assert place.submit(None, None).status_code == 202
    anna, secret = place.key("anna")
    # Within a second every process knows; here a new one does at once.
    place = Place(place.settings)
    assert place.submit(None, None).status_code == 401
    answer = place.submit(secret, None)
    assert answer.status_code == 202
    job_id = answer.get_json()["id"]
    assert place.deps.store.get(job_id).spec.owner == anna.id
    listed = place.app.test_client().get("/v1/jobs", headers={"Authorization": f"Bearer {secret}"})
    assert [job["id"] for job in listed.get_json()["jobs"]] == [job_id]


@pytest.mark.parametrize("keyed", [False, True])
def test_one_name_at_once_is_one_job_and_one_answer(place: Place, keyed: bool) -> None:
    secret = place.key("anna")[1] if keyed else None
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: place.submit(secret, "order-1"), range(24)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert len({answer.get_json()["id"] for answer in answers}) == 1
    # The seed is drawn anew for each try; the job has that of the one that counted.
    assert len({answer.get_json()["input"]["seed"] for answer in answers}) == 1
    assert place.waiting() == 1


def test_different_bodies_at_once_under_one_name(place: Place) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: place.submit(None, "order-1", seed=n % 2), range(24)))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {202, 422}
    assert len({a.get_json()["id"] for a in answers if a.status_code == 202}) == 1
    problem = next(answer.get_json() for answer in answers if answer.status_code == 422)
    assert (problem["code"], problem["retryable"]) == ("idempotency_mismatch", False)
    assert place.waiting() == 1


def test_the_same_body_is_the_same_however_it_is_written(place: Place) -> None:
    client = place.app.test_client()
    texts = [
        b'{"model": "demo", "prompt": "a red heart", "num_images": null}',
        b'{ "prompt":"a red heart","model":"demo" }',
    ]
    ids = set()
    for text in texts:
        answer = client.post(
            "/v1/jobs",
            data=text,
            headers={"Idempotency-Key": "k"},
            content_type="application/json",
        )
        ids.add(answer.get_json()["id"])
    assert len(ids) == 1


def test_a_name_is_its_keys_own(place: Place) -> None:
    secrets = [place.key(name)[1] for name in ("anna", "ben")]
    ids = {place.submit(secret, "order-1").get_json()["id"] for secret in secrets}
    assert len(ids) == 2


def test_a_rejected_submit_leaves_the_name_free(place: Place) -> None:
    secret = place.key("anna", max_waiting=1)[1]
    first = place.submit(secret, None).get_json()["id"]
    assert place.submit(secret, "order-1", width=7).status_code == 422
    assert place.submit(secret, "order-1").status_code == 429
    place.deps.store.cancel(first)
    accepted = place.submit(secret, "order-1")
    assert accepted.status_code == 202
    # The queue is full again, and the adapter that it names may be gone: it is the same job.
    again = place.submit(secret, "order-1")
    assert (again.status_code, again.headers["Location"]) == (202, accepted.headers["Location"])


def test_a_dry_run_neither_uses_nor_takes_a_name(place: Place) -> None:
    client, headers = place.app.test_client(), {"Idempotency-Key": "order-1"}
    for _ in range(2):
        assert client.post("/v1/jobs?dry_run=1", json=BODY, headers=headers).status_code == 200
    assert place.submit(None, "order-1", seed=3).status_code == 202


def test_a_replay_of_an_ended_job_has_the_same_status_and_place(place: Place) -> None:
    first = place.submit(None, "order-1")
    place.deps.store.cancel(first.get_json()["id"])
    again = place.submit(None, "order-1")
    assert (again.status_code, again.headers["Location"]) == (202, first.headers["Location"])
    assert again.get_json()["status"] == "canceled"
    headers = {"Idempotency-Key": "order-1"}
    waited = place.app.test_client().post("/v1/jobs?wait=1", json=BODY, headers=headers)
    assert (waited.status_code, waited.get_json()["id"]) == (200, again.get_json()["id"])
    place.deps.store.delete(first.get_json()["id"])
    gone = place.submit(None, "order-1")
    assert (gone.status_code, gone.get_json()["code"]) == (404, "job_not_found")


@pytest.mark.parametrize("name", ["", "x" * 256, "a\tb", "ü"])
def test_a_name_that_is_none_is_422(place: Place, name: str) -> None:
    answer = place.submit(None, name)
    assert answer.status_code == 422
    assert [e["pointer"] for e in answer.get_json()["errors"]] == ["Idempotency-Key"]


class Silent(RedisJobStore):
    """A store whose script runs, but whose answer never comes back."""

    def submit(self, *job: Any, **options: Any) -> NoReturn:
        super().submit(*job, **options)
        raise StoreUnavailable("Redis does not answer")


def test_an_accepted_job_that_a_503_hid_is_found_by_its_name(place: Place) -> None:
    silent = Place(place.settings, store=Silent(connect(place.settings.redis_url)))
    assert silent.submit(None, "order-1").status_code == 503
    (hidden,) = place.deps.store.page(JobFilter(), 10, None).jobs
    again = place.submit(None, "order-1")
    assert (again.status_code, again.get_json()["id"]) == (202, hidden.id)
    assert silent.submit(None, "order-1").get_json()["id"] == hidden.id
    assert place.waiting() == 1


def test_a_second_keys_first_job_does_not_wait_behind_the_firsts_fifty(place: Place) -> None:
    (anna, first), (ben, second) = place.key("anna"), place.key("ben")
    for _ in range(50):
        assert place.submit(first, None).status_code == 202
    job = place.submit(second, None).get_json()
    # After a turn of the other key at most.
    assert job["queue"]["position"] <= 1
    store = open_job_store(place.settings)
    owners = []
    for number in range(3):
        chosen = choose(store.snapshot("demo", "w", ""), 10_000_000)
        assert chosen
        lease = lease_of(store.claim("demo", chosen.id, "w", f"ticket {number}"))
        assert lease
        owners.append(store.get(lease.job_id).spec.owner)
    assert ben.id in owners[:2]
    assert owners.count(anna.id) == 2
