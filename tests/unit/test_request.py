"""The bodies and queries of the API: what they take, and what they say of what they refuse."""

import json
from typing import Any

import pytest

from lorajobs.errors import MalformedBody, ValidationFailed
from lorajobs.field_errors import MAX_ERRORS
from lorajobs.jobs import JobStatus
from lorajobs.queries import JobQuery, Query
from lorajobs.request import MAX_SEED, JobRequest, RegisterRequest, url_problem

MINIMAL = {"model": "demo", "prompt": "a red heart"}


def parsed(**fields: Any) -> JobRequest:
    return JobRequest.parse(json.dumps(MINIMAL | fields).encode())


def errors_of(raw: bytes) -> list[tuple[str, str]]:
    with pytest.raises(ValidationFailed) as refused:
        JobRequest.parse(raw)
    return [(error.pointer, error.detail) for error in refused.value.errors]


def test_a_minimal_body_leaves_everything_else_to_the_model() -> None:
    request = parsed()
    assert (request.model, request.prompt) == ("demo", "a red heart")
    rest = request.model_dump(exclude={"model", "prompt"})
    assert set(rest.values()) == {None}


def test_a_full_body_is_taken_as_it_is() -> None:
    body = {
        "model": "demo",
        "prompt": "p" * 10_000,
        "negative_prompt": "",
        "width": 64,
        "height": 96,
        "num_inference_steps": 1,
        "guidance_scale": 0,
        "seed": MAX_SEED,
        "num_images": 8,
        "scheduler": "DDIMScheduler",
        "loras": [
            {"id": "pixel", "scale": -5},
            {"path": "hf:a/b", "scale": 5.0, "weight_name": "w.safetensors"},
        ],
        "output": {"format": "webp", "quality": 100},
        "webhook": {"url": "https://receiver.example/hook?x=1"},
        "metadata": {f"k{i}": "v" * 512 for i in range(15)} | {"k" * 64: ""},
    }
    request = JobRequest.parse(json.dumps(body).encode())
    assert json.loads(request.model_dump_json(exclude_none=True)) == body


def test_null_means_the_default() -> None:
    optional = set(JobRequest.model_fields) - {"model", "prompt"}
    assert parsed(**dict.fromkeys(optional)) == parsed()


TOO_MANY = "give an array of at most 4 objects `{id | path, scale, weight_name}`, not an array of 5"
PAIRS = (
    "give at most 16 pairs of strings, keys of 1 to 64 and values of at most 512 characters, not "
)
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": 1}, "/prompt", "give a string of at most 10,000 characters, not 1"),
    ({"prompt": None}, "/prompt", "give a string of at most 10,000 characters, not null"),
    ({"prompt": "p" * 10_001}, "/prompt", "not a string of 10,001 characters"),
    ({"negative_prompt": ["a"]}, "/negative_prompt", "not an array of 1"),
    ({"model": ""}, "/model", "give the id of a base model or of an adapter"),
    ({"width": "64"}, "/width", 'give a positive integer, in pixels, not "64"'),
    ({"width": 64.0}, "/width", "not 64.0"),
    ({"height": 0}, "/height", "not 0"),
    ({"height": True}, "/height", "not true"),
    ({"num_inference_steps": -1}, "/num_inference_steps", "give a positive integer, not -1"),
    ({"guidance_scale": "7"}, "/guidance_scale", 'give a number not below 0, not "7"'),
    ({"guidance_scale": -0.1}, "/guidance_scale", "give a number not below 0, not -0.1"),
    ({"seed": -1}, "/seed", f"give an integer from 0 to {MAX_SEED}, not -1"),
    ({"seed": 10**30}, "/seed", "not so large a number"),
    ({"num_images": 9}, "/num_images", "give an integer from 1 to 8, not 9"),
    ({"num_images": 0}, "/num_images", "give an integer from 1 to 8, not 0"),
    ({"scheduler": 3}, "/scheduler", "give the name of a diffusers scheduler, not 3"),
    ({"loras": {"id": "a"}}, "/loras", "give an array of at most 4 objects"),
    ({"loras": [{"id": "a"}] * 5}, "/loras", TOO_MANY),
    ({"loras": ["pixel"]}, "/loras/0", "give an object of `id`, `path`, `scale`, `weight_name`"),
    ({"loras": [{}]}, "/loras/0", "give either `id` or `path`"),
    ({"loras": [{"id": "a"}, {"id": "a", "path": "b"}]}, "/loras/1", "give either `id` or `path`"),
    ({"loras": [{"id": ""}]}, "/loras/0/id", "give the id of a registered adapter"),
    ({"loras": [{"path": "p" * 3000}]}, "/loras/0/path", "not a string of 3,000 characters"),
    ({"loras": [{"id": "a", "scale": 5.1}]}, "/loras/0/scale", "give a number from -5 to 5"),
    ({"loras": [{"id": "a", "scale": "1"}]}, "/loras/0/scale", 'from -5 to 5, not "1"'),
    ({"loras": [{"id": "a", "scal": 1}]}, "/loras/0/scal", "did you mean `scale`?"),
    ({"loras": [{"id": "a", "weight_name": "w"}]}, "/loras/0", "`weight_name` only with `path`"),
    ({"output": "png"}, "/output", 'give an object of `format`, `quality`, not "png"'),
    ({"output": {"format": "gif"}}, "/output/format", 'give `png`, `jpeg` or `webp`, not "gif"'),
    ({"output": {"quality": 0}}, "/output/quality", "give an integer from 1 to 100, not 0"),
    ({"webhook": {}}, "/webhook/url", "is missing; give an http(s) URL"),
    ({"webhook": {"url": "ftp://host"}}, "/webhook/url", "must begin with https://"),
    (
        {"webhook": {"url": "https://host", "events": ["ended"]}},
        "/webhook/events/0",
        "give an array of `started`",
    ),
    ({"webhook": {"url": "https://host", "events": []}}, "/webhook/events", "not an array of 0"),
    ({"metadata": {str(i): "" for i in range(17)}}, "/metadata", PAIRS + "an object"),
    ({"metadata": {"a": 1}}, "/metadata/a", PAIRS + "1"),
    ({"metadata": {"model": 1}}, "/metadata/model", PAIRS + "1"),
    ({"metadata": {"a": "v" * 513}}, "/metadata/a", "not a string of 513 characters"),
    ({"metadata": {"k" * 65: ""}}, f"/metadata/{'k' * 65}", "k" * 65),
    ({"metadata": {"k" * 81: ""}}, f"/metadata/{'k' * 81}", "not a string of 81 characters"),
    ({"metadata": {"a/b~c": 1}}, "/metadata/a~1b~0c", PAIRS + "1"),
    ({"promt": "x"}, "/promt", "unknown field; did you mean `prompt`? known are `model`, `prompt`"),
    ({"Steps": 3}, "/Steps", "unknown field"),
    ({"a/b": 3}, "/a~1b", "unknown field; known are `model`"),
]


@pytest.mark.parametrize(
    ("fields", "pointer", "said"), REFUSED, ids=[f"{p}-{i}" for i, (_, p, _) in enumerate(REFUSED)]
)
def test_a_wrong_field_is_named_with_what_is_allowed(
    fields: dict[str, Any], pointer: str, said: str
) -> None:
    ((found, detail),) = errors_of(json.dumps(MINIMAL | fields).encode())
    assert found == pointer
    assert said in detail


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_finite_number_is_refused(number: str) -> None:
    raw = f'{{"model": "demo", "prompt": "p", "guidance_scale": {number}}}'
    ((pointer, detail),) = errors_of(raw.encode())
    assert pointer == "/guidance_scale"
    assert detail.startswith("give a number not below 0, not ")


def test_every_wrong_field_is_told_at_once() -> None:
    pointers = [pointer for pointer, _ in errors_of(b'{"prompt": 1, "seed": "x", "size": 3}')]
    assert pointers == ["/model", "/prompt", "/seed", "/size"]


def test_thousands_of_wrong_fields_are_counted_not_listed() -> None:
    errors = errors_of(json.dumps(MINIMAL | {f"f{i}": i for i in range(5000)}).encode())
    assert len(errors) == MAX_ERRORS + 1
    assert errors[-1] == ("", f"and {5000 - MAX_ERRORS} more")


def test_the_detail_is_that_of_the_first_field() -> None:
    with pytest.raises(ValidationFailed, match=r"^/model: is missing; .* \(and 1 more\)$"):
        JobRequest.parse(b"{}")


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"{'a': 1}", b"\xff", b'{"prompt": "\\ud800"}', b"[" * 5000, b"9" * 5000],
)
def test_what_is_not_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedBody, match=r"the body is not JSON: .* line 1 column"):
        JobRequest.parse(raw)


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"model": "demo", "prompt": "a", "prompt": "b"}', "prompt"),
        (b'{"model": "demo", "prompt": "a", "loras": [{"id": "x", "\\u0069d": "y"}]}', "id"),
        (b'{"prompt": 1, "metadata": {"a": "1", "b": "2", "a": "1"}}', "a"),
    ],
)
def test_a_key_that_stands_twice_is_malformed(raw: bytes, key: str) -> None:
    with pytest.raises(MalformedBody, match=f'the key "{key}" stands twice in one object'):
        JobRequest.parse(raw)


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"x"'])
def test_json_that_is_no_object_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedBody, match="must be a JSON object"):
        JobRequest.parse(raw)


@pytest.mark.parametrize(
    "url", ["https://host", "http://127.0.0.1:8080/a?b=c", "https://[::1]:9/x", "HTTPS://h/%20"]
)
def test_a_url_that_can_be_called(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "begin with https://"),
        ("host/path", "begin with https://"),
        ("file:///etc/passwd", "begin with https://"),
        ("https://", "names no host"),
        ("https:///x", "names no host"),
        ("https://user:secret@host/", "user name or password"),
        ("https://host/#part", "fragment"),
        ("https://host:70000/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://host:0/", "port 0"),
        ("https://a b/", "percent-encoded"),
        ("https://host/\r\nX: y", "percent-encoded"),
        ("https://exämple.org/", "punycode"),
    ],
)
def test_a_url_that_cannot_be_called(url: str, problem: str) -> None:
    assert problem in (url_problem(url) or "")


def test_a_registration() -> None:
    request = RegisterRequest.parse(b'{"id": "a.b-c_1", "source": "hf:a/b", "scale": 0.5}')
    assert (request.id, request.base, request.scale) == ("a.b-c_1", None, 0.5)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"id": "a/b"}, "/id"),
        ({"id": "-a"}, "/id"),
        ({"id": "a\n"}, "/id"),
        ({"id": "a" * 129}, "/id"),
        ({"source": ""}, "/source"),
        ({"scale": 6}, "/scale"),
        ({"scale": None}, "/scale"),
        ({"trigger_words": "pixel"}, "/trigger_words"),
        ({"trigger_words": ["a", ""]}, "/trigger_words/1"),
        ({"licence": "MIT"}, "/licence"),
    ],
)
def test_a_wrong_registration(fields: dict[str, Any], pointer: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        RegisterRequest.parse(json.dumps({"id": "a", "source": "hf:a/b"} | fields).encode())
    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_a_query() -> None:
    query = JobQuery.parse({"status": ["queued"], "limit": ["100"], "lora": ["pixel"]})
    assert query == JobQuery(status=JobStatus.QUEUED, limit=100, lora="pixel")
    assert JobQuery.parse({}).limit == 20


@pytest.mark.parametrize(
    ("query", "pointer", "said"),
    [
        ({"status": ["done"]}, "/status", "`queued`, `running`, `succeeded`"),
        ({"limit": ["0"]}, "/limit", 'give an integer from 1 to 100, not "0"'),
        ({"limit": ["101"]}, "/limit", "from 1 to 100"),
        ({"limit": ["x"]}, "/limit", "from 1 to 100"),
        ({"limit": ["1", "2"]}, "/limit", "not an array of 2"),
        ({"stauts": ["queued"]}, "/stauts", "did you mean `status`?"),
    ],
)
def test_a_wrong_query(query: dict[str, list[str]], pointer: str, said: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        JobQuery.parse(query)
    ((found, detail),) = refused.value.errors
    assert found == pointer
    assert said in detail


def test_a_page_without_parameters_takes_none() -> None:
    Query.parse({})
    with pytest.raises(ValidationFailed) as refused:
        Query.parse({"state": ["warm"]})
    assert refused.value.errors == (("/state", "unknown field; known are none"),)
