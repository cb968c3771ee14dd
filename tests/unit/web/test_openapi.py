"""`/openapi.json` and its page `/docs`: the API described by its routes, models and docstrings."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from lorajobs.jobs import JobStatus, Outcome
from lorajobs.request import JobRequest, RegisterRequest
from tests.jobs import lease_of
from tests.unit.web.api import REQUEST, Api
from web.gate import FOREIGN, PAGES
from web.openapi_routes import ROUTES


@pytest.fixture
def described(api: Api) -> dict[str, Any]:
    answer = api.client.get("/openapi.json")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.get_json()
    return document


def check(described: dict[str, Any], name: str, value: object) -> None:
    """Raises if the value is not what the schema of this name says."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    Draft202012Validator(schema).validate(value)


def test_the_description_is_valid(described: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(described).validate()
    assert described["openapi"].startswith("3.1")


def test_every_route_is_described(api: Api, described: dict[str, Any]) -> None:
    operations = [op for methods in described["paths"].values() for op in methods.values()]
    assert {op["operationId"] for op in operations} == {
        rule.endpoint
        for rule in api.app.url_map.iter_rules()
        # For people, not for programs.
        if rule.endpoint.partition(".")[0] != PAGES
    }
    assert {op["operationId"] for op in operations} == set(ROUTES)
    # What tests of the native pages leave out.
    assert {tag for op in operations for tag in op["tags"]} > FOREIGN
    for operation in operations:
        assert operation["summary"].endswith("."), operation["operationId"]
        assert {"500", "default"} & set(operation["responses"])


def test_errors_are_described_by_status_with_their_codes_and_headers(
    described: dict[str, Any],
) -> None:
    answers = described["paths"]["/v1/jobs"]["post"]["responses"]
    codes = {
        status: set(answer["description"].replace("`", "").split(", "))
        for status, answer in answers.items()
        if status >= "400"
    }
    assert codes["401"] == {"key_required", "key_invalid"}
    assert codes["429"] == {"queue_full", "rate_limited"}
    assert codes["413"] == {"body_too_large"}
    assert {"validation", "lora_base_mismatch", "idempotency_mismatch"} <= codes["422"]
    assert {"lora_fetch_failed", "store_unavailable"} <= codes["503"]
    sure, perhaps = "#/components/headers/Retry-After", "#/components/headers/Retry-After.maybe"
    assert answers["202"]["headers"]["Retry-After"] == {"$ref": perhaps}
    assert answers["429"]["headers"]["Retry-After"] == {"$ref": sure}
    headers = described["components"]["headers"]
    assert headers["Retry-After"]["required"]
    assert not headers["Retry-After.maybe"]["required"]
    assert {"Location", "Preference-Applied", "RateLimit-Remaining"} <= set(
        answers["202"]["headers"]
    )
    alive = described["paths"]["/healthz"]["get"]
    assert (set(alive["responses"]), alive["security"]) == ({"200", "500"}, [])


def test_bodies_are_described_by_the_models_that_validate_them(described: dict[str, Any]) -> None:
    for path, model in (("/v1/jobs", JobRequest), ("/v1/loras", RegisterRequest)):
        content = described["paths"][path]["post"]["requestBody"]["content"]
        (schema,) = [content["application/json"]["schema"]]
        assert schema == {"$ref": f"#/components/schemas/{model.__name__}"}
        told = described["components"]["schemas"][model.__name__]
        assert set(told["properties"]) == set(model.model_fields)
        assert told["additionalProperties"] is False


def test_what_foreign_clients_send_is_described(described: dict[str, Any]) -> None:
    paths = described["paths"]
    edit = paths["/v1/images/edits"]["post"]
    form = edit["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["image"] == {"type": "string", "format": "binary"}
    assert {"image", "prompt"} <= set(form["required"])
    waits = ("/", "/v1/chat/completions", "/v1/images/generations", "/v1/images/edits")
    for path in waits:
        assert "X-Job-Id" in paths[path]["post"]["responses"]["200"]["headers"]
    for path in (*waits, "/v1/predictions"):
        assert "Idempotency-Key" in {p["name"] for p in paths[path]["post"]["parameters"]}


def test_queries_and_headers_are_described(described: dict[str, Any]) -> None:
    submit = described["paths"]["/v1/jobs"]["post"]["parameters"]
    assert {(p["in"], p["name"]) for p in submit} >= {
        ("query", "wait"),
        ("query", "dry_run"),
        ("header", "Prefer"),
    }
    output = described["paths"]["/v1/jobs/{job_id}/outputs/{index}"]["get"]["parameters"]
    assert {p["name"]: p["schema"]["type"] for p in output} == {
        "job_id": "string",
        "index": "integer",
    }


def test_real_answers_are_what_is_described(api: Api, described: dict[str, Any]) -> None:
    queued = api.client.post("/v1/jobs", json=REQUEST | {"loras": [{"id": "pixel"}]}).get_json()
    check(described, "Job", queued)
    done = api.submit()
    api.finish(done, [b"data"])
    failed = api.submit()
    lease = lease_of(api.store.claim("demo", failed, "w", "ticket"))
    assert lease
    api.store.finish(lease, Outcome(status=JobStatus.CANCELED))
    for job_id in (done, failed):
        check(described, "Job", api.client.get(f"/v1/jobs/{job_id}").get_json())
    check(described, "JobPage", api.client.get("/v1/jobs?limit=1").get_json())
    dry = api.client.post("/v1/jobs?dry_run=1", json=REQUEST | {"loras": [{"id": "pixel"}]})
    check(described, "DryRun", dry.get_json())
    for wrong in (queued, dry.get_json()):
        check(described, "JobOrDryRun", wrong)
    check(described, "Problem", api.client.post("/v1/jobs", json={}).get_json())
    check(described, "Problem", api.client.get("/v1/jobs/nobody").get_json())


class Links(HTMLParser):
    """What a page refers to, and what can be referred to on it."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src"):
                self.targets.add(value or "")
            if name == "id":
                self.ids.add(f"#{value}")


def test_the_page_shows_all_and_asks_no_other_host(api: Api, described: dict[str, Any]) -> None:
    answer = api.client.get("/docs")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    links = Links()
    links.feed(answer.text)
    inside = {target for target in links.targets if target.startswith("#")}
    assert inside <= links.ids
    assert all(target.startswith("/") for target in links.targets - inside)
    for path in described["paths"]:
        assert path in answer.text
    for name in described["components"]["schemas"]:
        assert f"#{name}" in links.ids
    assert not re.search(r"\{[{%]|Undefined", answer.text)


def test_who_has_no_key_may_read_it(api: Api) -> None:
    for path in ("/openapi.json", "/docs"):
        assert api.client.get(path, environ_base={"REMOTE_ADDR": "203.0.113.1"}).status_code == 200
