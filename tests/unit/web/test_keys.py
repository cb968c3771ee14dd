"""Who may ask for what: keys, their scopes and rates, and jobs that are another key's."""

import re
from typing import Any

import pytest
from werkzeug.test import TestResponse

from lorajobs.api_keys import Scope, revoke
from lorajobs.errors import StoreUnavailable
from lorajobs.testing import MemoryApiKeys
from tests.shelf import Shelf
from tests.unit.web.api import REQUEST, Api, problem_of
from tests.unit.web.keyed import ANY, Keyed, Shared


@pytest.fixture
def shared(shelf: Shelf) -> Shared:
    return Shared(shelf)


#: Where POST is answered with errors in another API's shape.
OTHERS = re.compile(r"/|/models/pixel|/v1/chat/completions|/v1/images/\w+")


def refusal_of(answer: TestResponse, status: int, code: str) -> str:
    """What the answer says, in the shape of its page."""
    if answer.request.method != "POST" or not OTHERS.fullmatch(answer.request.path):
        return str(problem_of(answer, status, code)["detail"])
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/json"
    assert f'"{code}"' in answer.text
    return answer.text


def pages(api: Api, job_id: str) -> list[tuple[str, str]]:
    """Every page below /v1 and its methods, for this job."""
    found = []
    for rule in api.app.url_map.iter_rules():
        path = rule.rule.replace("<job_id>", job_id).replace("<int:index>", "0")
        path = re.sub("<[^>]*>", "x", path.replace("<lora_id>", "pixel"))
        if path.startswith("/v1/"):
            found += [(method, path) for method in rule.methods or () if method != "OPTIONS"]
    assert len(found) > 15
    return found


def test_every_page_needs_a_key_once_there_is_one(shared: Shared) -> None:
    job_id = shared.anna.submit()
    further = [("GET", "/v1/nix"), ("POST", "/"), ("POST", "/models/pixel")]
    for method, path in [*pages(shared.api, job_id), *further]:
        answer = shared.api.client.open(path, method=method)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="lorajobs"'
        if method != "HEAD":
            assert "lorajobs keys create" in refusal_of(answer, 401, "key_required")
    assert shared.root.ids() == {job_id}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_whoever_watches_the_processes_needs_none(shared: Shared, path: str) -> None:
    assert shared.api.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Bearer x", "Basic {secret}", "{secret}", "Bearer {secret}x", "Key {secret}"],
)
def test_what_is_no_key_is_refused_also_where_none_is_needed(
    shared: Shared, api: Api, shown: str
) -> None:
    headers = {"Authorization": shown.format(secret=shared.anna.secret)}
    for asked in (shared.api, api):
        problem_of(asked.client.get("/v1/jobs", headers=headers), 401, "key_invalid")


def test_a_revoked_key_opens_nothing(shared: Shared) -> None:
    job_id = shared.anna.submit()
    revoke(shared.api.keys, "anna")
    problem_of(shared.anna.get(f"/v1/jobs/{job_id}"), 401, "key_invalid")
    for name in ("ben", "root"):
        revoke(shared.api.keys, name)
    problem_of(shared.api.client.get("/v1/jobs"), 401, "key_required")


def test_each_scope_opens_its_own(shared: Shared) -> None:
    looks = Keyed(shared.api, "looks", (Scope.READ,))
    submits = Keyed(shared.api, "submits", (Scope.SUBMIT,))
    job_id = submits.submit()
    for method, path in pages(shared.api, job_id):
        if path.startswith("/v1/admin/"):
            for key in (looks, submits):
                assert key.ask(method, path).status_code == 403, (method, path)
            continue
        asks, other = (looks, submits) if method in ("GET", "HEAD") else (submits, looks)
        if method != "HEAD":
            refusal_of(other.ask(method, path), 403, "scope_missing")
        assert asks.ask(method, path).status_code not in (401, 403), (method, path)
        assert shared.root.ask(method, path).status_code not in (401, 403), (method, path)


def test_another_keys_job_is_not_there(shared: Shared) -> None:
    job_id = shared.anna.submit(webhook={"url": "https://receiver.example/"})
    shared.api.finish(job_id, [b"picture"])
    for method, path in pages(shared.api, job_id):
        # Those of operators are closed to him whatever the job.
        if job_id in path and not path.startswith("/v1/admin/"):
            answer = shared.ben.ask(method, path)
            assert answer.status_code == 404, (method, path)
            unknown = shared.ben.ask(method, path.replace(job_id, "x" * len(job_id)))
            if method != "HEAD":
                told = problem_of(answer, 404, "job_not_found")["detail"]
                assert told.replace(job_id, "x" * len(job_id)) == unknown.get_json()["detail"]
    assert (shared.anna.ids(), shared.ben.ids(), shared.root.ids()) == ({job_id}, set(), {job_id})
    assert shared.anna.get(f"/v1/jobs/{job_id}/outputs/0").status_code == 302
    assert shared.root.get(f"/v1/jobs/{job_id}/outputs/0").status_code == 302
    assert shared.anna.get(f"/v1/jobs/{job_id}/events").status_code == 200
    assert shared.root.ask("DELETE", f"/v1/jobs/{job_id}").status_code == 204
    assert shared.anna.get(f"/v1/jobs/{job_id}").status_code == 404


def test_a_job_is_canceled_by_its_key_or_an_admins(shared: Shared) -> None:
    first, second = shared.anna.submit(), shared.anna.submit()
    assert shared.ben.post(f"/v1/jobs/{first}/cancel").status_code == 404
    assert shared.anna.get(f"/v1/jobs/{first}").get_json()["status"] == "queued"
    assert shared.anna.post(f"/v1/jobs/{first}/cancel").get_json()["status"] == "canceled"
    assert shared.root.post(f"/v1/jobs/{second}/cancel").get_json()["status"] == "canceled"


def test_lists_are_of_the_own_jobs_whatever_is_asked(shared: Shared) -> None:
    mine = [shared.anna.submit() for _ in range(3)]
    shared.ben.submit()
    seen: list[str] = []
    path = "/v1/jobs?limit=1&status=queued&model=demo"
    while path:
        page = shared.anna.get(path).get_json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        path = f"/v1/jobs?limit=1&status=queued&model=demo&cursor={cursor}" if cursor else ""
    assert sorted(seen) == sorted(mine)


def test_jobs_from_before_the_first_key_are_an_admins(shelf: Shelf) -> None:
    settings = shelf.settings.model_copy(update={"require_keys": "auto", "public_url": None})
    api = Api(shelf, settings=settings)
    before = api.submit()
    assert api.client.get(f"/v1/jobs/{before}").status_code == 200
    anna, root = Keyed(api, "anna", ANY), Keyed(api, "root", (Scope.ADMIN,))
    problem_of(api.client.get(f"/v1/jobs/{before}"), 401, "key_required")
    problem_of(anna.get(f"/v1/jobs/{before}"), 404, "job_not_found")
    assert root.ids() == {before}


def test_requests_are_counted_and_the_rest_is_told(shared: Shared) -> None:
    carl = Keyed(shared.api, "carl", ANY, rate=2)

    def rates(answer: Any) -> tuple[str, ...]:
        return tuple(answer.headers[f"RateLimit-{n}"] for n in ("Limit", "Remaining", "Reset"))

    assert rates(carl.get("/v1/jobs")) == ("2", "1", "30")
    # Also those that are refused for another reason.
    assert rates(carl.get("/v1/nix")) == ("2", "0", "60")
    answer = carl.get("/v1/jobs")
    assert "2 requests per minute" in problem_of(answer, 429, "rate_limited")["detail"]
    assert (answer.headers["Retry-After"], rates(answer)) == ("30", ("2", "0", "60"))
    assert rates(shared.anna.get("/v1/jobs"))[:2] == ("3000", "2999")
    assert "RateLimit-Limit" not in shared.api.client.get("/healthz").headers
    shared.api.clock.advance(30)
    assert carl.get("/v1/jobs").status_code == 200


def test_a_key_may_let_so_many_jobs_wait(shared: Shared) -> None:
    carl = Keyed(shared.api, "carl", ANY, max_waiting=2)
    first, _ = carl.submit(), carl.submit()
    answer = carl.post("/v1/jobs", json=REQUEST)
    assert "2 jobs of this API key" in problem_of(answer, 429, "queue_full")["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    assert "RateLimit-Remaining" in answer.headers
    problem_of(carl.post("/v1/jobs?dry_run=1", json=REQUEST), 429, "queue_full")
    shared.anna.submit()
    carl.post(f"/v1/jobs/{first}/cancel")
    carl.submit()


def test_who_submitted_a_job_is_not_in_its_document(shared: Shared) -> None:
    job = shared.anna.get(f"/v1/jobs/{shared.anna.submit()}")
    assert shared.anna.key.id not in job.text


def test_use_is_told_to_its_key_and_all_of_it_to_an_admin(shared: Shared) -> None:
    for who, count in ((shared.anna, 2), (shared.ben, 1)):
        job_id = who.submit(num_images=count)
        shared.api.finish(job_id, [b"picture"] * count)

    def used(who: Keyed, by: str) -> list[tuple[str, int, int]]:
        rows = who.get(f"/v1/usage?by={by}").get_json()["usage"]
        assert all(row["gpu_s"] == 0 for row in rows)
        return [(row[by], row["jobs"], row["pictures"]) for row in rows]

    ids = shared.anna.key.id, shared.ben.key.id
    assert used(shared.anna, "key") == [(ids[0], 1, 2)]
    assert used(shared.ben, "model") == [("demo", 1, 1)]
    assert used(shared.root, "key") == sorted([(ids[0], 1, 2), (ids[1], 1, 1)])
    assert used(shared.root, "model") == [("demo", 2, 3)]
    assert used(shared.root, "adapter") == []
    assert shared.anna.get("/v1/usage").get_json()["by"] == "key"
    problem_of(shared.anna.get("/v1/usage?by=day"), 422, "validation")


class Away(MemoryApiKeys):
    """A store of keys that does not answer."""

    def get(self, key_id: str) -> Any:
        raise StoreUnavailable("Redis does not answer")

    def all(self) -> Any:
        raise StoreUnavailable("Redis does not answer")


def test_while_the_keys_cannot_be_read_nobody_passes(shelf: Shelf) -> None:
    from lorajobs.api_keys import KeyRing

    api = Api(shelf, ring=KeyRing(Away()))
    for headers in ({}, {"Authorization": "Bearer lj_a_b"}):
        problem_of(api.client.get("/v1/jobs", headers=headers), 503, "store_unavailable")
    assert api.client.get("/healthz").status_code == 200
