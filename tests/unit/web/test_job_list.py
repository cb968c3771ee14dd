"""`GET /v1/jobs`: pages of jobs, newest first, narrowed by queries."""

import pytest

from tests.shelf import PUBLIC_URL
from tests.unit.web.api import Api, problem_of


def test_jobs_are_listed_newest_first_page_by_page(api: Api) -> None:
    ids = []
    for _ in range(5):
        ids.append(api.submit())
        api.clock.advance(1)
    seen: list[str] = []
    path = "/v1/jobs?limit=2"
    for size in (2, 2, 1):
        answer = api.client.get(path)
        page = answer.get_json()
        assert len(page["jobs"]) == size
        seen += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            assert "Link" not in answer.headers
            break
        path = f"/v1/jobs?limit=2&cursor={page['next_cursor']}"
        assert answer.headers["Link"] == f'<{PUBLIC_URL}{path}>; rel="next"'
    assert seen == ids[::-1]


def test_the_list_can_be_narrowed(api: Api) -> None:
    plain, styled = api.submit(), api.submit(loras=[{"id": "line"}])
    other = api.submit(model="third")
    api.client.post(f"/v1/jobs/{plain}/cancel")

    def listed(query: str) -> set[str]:
        return {job["id"] for job in api.client.get(f"/v1/jobs?{query}").get_json()["jobs"]}

    assert listed("") == {plain, styled, other}
    assert listed("status=canceled") == {plain}
    assert listed("model=third") == {other}
    assert listed("model=emoji") == {plain, styled}
    assert listed("lora=line") == {styled}
    assert listed("lora=line&status=canceled") == set()


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("status=done", "/status"),
        ("stat=queued", "/stat"),
        ("cursor=%21%21", "/cursor"),
        ("cursor=bml4", "/cursor"),
        ("cursor=é", "/cursor"),
        ("cursor=", "/cursor"),
        ("limit=1&limit=2", "/limit"),
    ],
)
def test_a_wrong_query_is_422(api: Api, query: str, pointer: str) -> None:
    document = problem_of(api.client.get(f"/v1/jobs?{query}"), 422, "validation")
    assert [error["pointer"] for error in document["errors"]] == [pointer]


def test_a_list_of_no_model_names_the_known(api: Api) -> None:
    document = problem_of(api.client.get("/v1/jobs?model=dmeo"), 422, "unknown_model")
    ((pointer, detail),) = [error.values() for error in document["errors"]]
    assert pointer == "/model"
    assert detail == (
        'no base model is called "dmeo"; known are `demo`, `emoji`, `cousin`, `third`'
    )
