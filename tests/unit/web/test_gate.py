"""Without a key: only this machine's own user, and no page of another site."""

from typing import Any

import pytest

from lorajobs.api_keys import Scope, create
from tests.shelf import Shelf
from tests.unit.web.api import REQUEST, Api, problem_of


def opened(shelf: Shelf, **settings: Any) -> Api:
    own = {"require_keys": "auto", "public_url": None, **settings}
    return Api(shelf, settings=shelf.settings.model_copy(update=own))


def asked(api: Api, host: str = "127.0.0.1:8000", peer: str = "127.0.0.1", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.client.post(
        "/v1/jobs",
        json=REQUEST,
        headers={"Host": host, **named},
        environ_overrides={"REMOTE_ADDR": peer},
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "localhost:81", "[::1]:8000", "0:8000", "0.0.0.0:8000"]
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1"])
def test_the_own_user_needs_no_key(shelf: Shelf, host: str, peer: str) -> None:
    assert asked(opened(shelf), host, peer).status_code == 202


@pytest.mark.parametrize(
    "settings",
    [
        {"api_host": "0.0.0.0"},
        {"api_host": "::"},
        {"api_host": "10.0.0.1"},
        {"public_url": "https://api.example"},
        {"require_keys": "always"},
    ],
)
def test_an_api_that_others_reach_asks_for_a_key(shelf: Shelf, settings: dict[str, str]) -> None:
    problem_of(asked(opened(shelf, **settings)), 401, "key_required")


@pytest.mark.parametrize("peer", ["10.0.0.7", "203.0.113.9", "2001:db8::1", ""])
def test_another_machine_needs_a_key_whatever_the_settings_say(shelf: Shelf, peer: str) -> None:
    problem_of(asked(opened(shelf), peer=peer), 401, "key_required")


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
def test_whoever_comes_through_a_proxy_needs_a_key(shelf: Shelf, name: str) -> None:
    answer = asked(opened(shelf), **{name: "1.1 proxy"})
    problem_of(answer, 401, "key_required")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", "["]
)
def test_a_name_that_was_made_lead_here_is_refused(shelf: Shelf, host: str) -> None:
    api = opened(shelf)
    answer = asked(api, host)
    assert answer.status_code in (400, 403)
    if host != "[":
        problem_of(answer, 403, "host_refused")
    looked = api.client.get("/v1/jobs", headers={"Host": host})
    assert looked.status_code in (400, 403)
    assert asked(opened(shelf, require_keys="never"), host).status_code in (400, 403)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999"])
def test_a_page_of_another_site_changes_nothing(shelf: Shelf, origin: str) -> None:
    api = opened(shelf)
    problem_of(asked(api, Origin=origin), 403, "origin_refused")
    job_id = api.submit()
    # The one change that needs no body, which any page could have a browser ask for.
    answer = api.client.post(f"/v1/jobs/{job_id}/cancel", headers={"Origin": origin})
    problem_of(answer, 403, "origin_refused")
    assert api.client.get(f"/v1/jobs/{job_id}").get_json()["status"] == "queued"


def test_an_own_page_may(shelf: Shelf) -> None:
    assert asked(opened(shelf), Origin="http://127.0.0.1:8000").status_code == 202
    behind = opened(shelf, require_keys="never", public_url="https://api.example")
    assert asked(behind, Origin="https://api.example").status_code == 202


def test_no_answer_lets_another_site_read_it(shelf: Shelf) -> None:
    api = opened(shelf)
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "DELETE"}
    for method in ("GET", "OPTIONS"):
        answer = api.client.open("/v1/jobs", method=method, headers=headers)
        assert not [name for name in dict(answer.headers) if "Access-Control" in name]


def test_a_form_is_no_json(shelf: Shelf) -> None:
    answer = opened(shelf).client.post("/v1/jobs", data={"prompt": "x"})
    problem_of(answer, 415, "unsupported_media_type")


def test_with_a_key_neither_host_nor_peer_nor_page_counts(shelf: Shelf) -> None:
    api = opened(shelf, api_host="0.0.0.0")
    _, secret = create(api.keys, "anna", [Scope.SUBMIT])
    headers = {"Authorization": f"Bearer {secret}", "Origin": "https://page.example"}
    assert asked(api, "api.example", "203.0.113.9", **headers).status_code == 202


def test_who_says_never_is_open_beside_its_keys(shelf: Shelf) -> None:
    api = opened(shelf, api_host="0.0.0.0", require_keys="never")
    _, secret = create(api.keys, "anna", [Scope.SUBMIT, Scope.READ])
    shown = {"Authorization": f"Bearer {secret}"}
    theirs = asked(api, **shown).get_json()["id"]
    mine = asked(api, "api.example", "203.0.113.9").get_json()["id"]
    # Whoever shows no key is one more user, not an admin.
    jobs = api.client.get("/v1/jobs").get_json()["jobs"]
    assert [job["id"] for job in jobs] == [mine]
    problem_of(api.client.get(f"/v1/jobs/{theirs}"), 404, "job_not_found")
    problem_of(api.client.get(f"/v1/jobs/{mine}", headers=shown), 404, "job_not_found")


def test_a_key_that_means_nothing_does_not_hide_that_a_page_is_missing(shelf: Shelf) -> None:
    shown = {"Authorization": "Bearer none", "Host": "127.0.0.1"}
    api = opened(shelf)
    problem_of(api.client.post("/v1/deployments", headers=shown), 404, "not_found")
    create(api.keys, "ann", [Scope.SUBMIT])
    problem_of(api.client.post("/v1/deployments", headers=shown), 401, "key_invalid")
