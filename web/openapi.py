"""`/openapi.json`: the API described by its own routes, models and docstrings."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

import lorajobs
from lorajobs.access_errors import (
    HostRefused,
    KeyInvalid,
    KeyRequired,
    OriginRefused,
    RateLimited,
    ScopeMissing,
)
from lorajobs.catalog import Defaults, Limits
from lorajobs.errors import LoraJobsError, MalformedBody, StoreUnavailable, ValidationFailed
from lorajobs.jobs import AppliedLora, JobError, JobWarning, Metrics
from lorajobs.overview import Overview
from lorajobs.spec import OutputFormat, SourceImage
from web.errors import code_of, status_of
from web.gate import FOREIGN, OPEN, PAGES
from web.openapi_routes import ROUTES, Answer, Shape
from web.openapi_schemas import ANSWER_HEADERS, REQUEST_HEADERS, SCHEMAS

Json = dict[str, Any]

openapi = Blueprint("openapi", __name__)

_REF = "#/components/schemas/{model}"
#: The models that bodies are validated by, and those that answers are made of.
_BODIES = tuple(dict.fromkeys(shape.body for shape in ROUTES.values() if shape.body))
_ANSWERS: tuple[type[BaseModel], ...] = (
    AppliedLora,
    JobError,
    JobWarning,
    Metrics,
    OutputFormat,
    SourceImage,
    Defaults,
    Limits,
    Overview,
)
#: What every page behind the gate can answer, and the headers of all its answers.
_GATE = (
    KeyRequired,
    KeyInvalid,
    ScopeMissing,
    HostRefused,
    OriginRefused,
    RateLimited,
    StoreUnavailable,
)
_RATE = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
#: The headers that an error of this status always has.
_ERROR_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
_BINARY = {"type": "string", "format": "binary"}
_MAYBE = ".maybe"
_SIGNED = "part of the URL as it was given"
_VARIABLE = re.compile(r"<(?:(\w+):)?(\w+)>")
_CONVERTERS = {"int": {"type": "integer", "minimum": 0}}


@openapi.get("/openapi.json")
def document() -> Response:
    """Describes the API (OpenAPI 3.1)."""
    return jsonify(described(current_app))


def described(app: Flask) -> Json:
    """The OpenAPI document of all routes of an application."""
    paths: Json = {}
    for rule in app.url_map.iter_rules():
        if _blueprint(rule) == PAGES:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path = _VARIABLE.sub(r"{\2}", rule.rule)
            paths.setdefault(path, {})[method.lower()] = _operation(app, rule)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lorajobs",
            "version": lorajobs.__version__,
            "summary": inspect.getdoc(lorajobs),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "headers": _all_headers(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        # Without a key where the operator made none.
        "security": [{"key": []}, {}],
    }


def _operation(app: Flask, rule: Rule) -> Json:
    shape = ROUTES.get(rule.endpoint, Shape())
    text = inspect.getdoc(app.view_functions[rule.endpoint]) or ""
    operation: Json = {
        "operationId": rule.endpoint,
        "summary": text.partition("\n")[0],
        "tags": [_blueprint(rule)],
        "parameters": [*_in_path(rule), *_in_query(shape), *_in_headers(shape)],
        "responses": {str(status): answer for status, answer in _responses(rule, shape)},
    }
    if content := _content(shape):
        operation["requestBody"] = {"required": True, "content": content}
    if rule.endpoint in OPEN:
        operation["security"] = []
    return operation


def _content(shape: Shape) -> Json:
    """What the body of a request may be, by media type."""
    content: Json = {media: {"schema": _BINARY} for media in shape.files}
    if shape.body:
        content["application/json"] = {"schema": _ref(shape.body.__name__)}
    if shape.form:
        fields = shape.form.model_json_schema(ref_template=_REF)
        fields.pop("$defs", None)
        fields["properties"][shape.file] = _BINARY
        fields["required"] = [*fields.get("required", ()), shape.file]
        content["multipart/form-data"] = {"schema": fields}
    return content


def _blueprint(rule: Rule) -> str:
    endpoint: str = rule.endpoint
    return endpoint.partition(".")[0]


def _responses(rule: Rule, shape: Shape) -> Iterator[tuple[object, Json]]:
    always = ["X-Content-Type-Options", "X-Request-ID"]
    if rule.rule.startswith("/v1/"):
        always.append("Cache-Control")
    maybe = () if rule.endpoint in OPEN else _RATE
    for status, answer in shape.answers.items():
        yield status, _answered(status, answer, always, maybe)
    if _blueprint(rule) in FOREIGN:
        yield "default", {"description": "An error as the clients of that API expect it."}
        return
    for status, codes in sorted(_codes(rule, shape).items()):
        more = [_ERROR_HEADERS[status]] if status in _ERROR_HEADERS else []
        yield status, _problem(status, codes, _headers([*always, *more], maybe))


def _answered(status: int, answer: Answer, always: Iterable[str], maybe: Iterable[str]) -> Json:
    headers = _headers([*always, *answer.always], [*maybe, *answer.maybe])
    told: Json = {"description": HTTPStatus(status).phrase, "headers": headers}
    if "/" in answer.what:
        schema = _ref(answer.of) if answer.of else {"type": "string"}
        told["content"] = {answer.what: {"schema": schema}}
    elif answer.what:
        told["content"] = {"application/json": {"schema": _ref(answer.what)}}
    return told


def _problem(status: int, codes: Iterable[str], headers: Json) -> Json:
    known = sorted(codes)
    own = {"properties": {"status": {"const": status}, "code": {"enum": known}}}
    return {
        "description": ", ".join(f"`{code}`" for code in known),
        "headers": headers,
        "content": {"application/problem+json": {"schema": {"allOf": [_ref("Problem"), own]}}},
    }


def _codes(rule: Rule, shape: Shape) -> Mapping[int, set[str]]:
    """By status, the codes of all errors that the route answers."""
    errors = [*shape.errors, *(() if rule.endpoint in OPEN else _GATE)]
    statuses = {500, *shape.http}
    if shape.query is not None:
        errors.append(ValidationFailed)
    if shape.body or shape.files:
        statuses |= {400, 413, 415}
    if shape.body:
        errors += [MalformedBody, ValidationFailed]
    if rule.arguments:
        statuses.add(404)
    codes: dict[int, set[str]] = defaultdict(set)
    for error in {kind for base in errors for kind in family(base)}:
        codes[status_of(error)].add(error.code)
    for status in statuses:
        codes[status].add(code_of(status))
    return codes


def family(error: type[LoraJobsError]) -> Iterator[type[LoraJobsError]]:
    """The error and all that are derived from it, without those that only group others."""
    if "code" in vars(error):
        yield error
    for derived in error.__subclasses__():
        yield from family(derived)


def _headers(always: Iterable[str], maybe: Iterable[str]) -> Json:
    refs = {name: f"{name}{_MAYBE}" for name in maybe} | {name: name for name in always}
    return {name: {"$ref": f"#/components/headers/{ref}"} for name, ref in refs.items()}


def _all_headers() -> Json:
    """The headers of answers, each once as one that is always there and once as one that may be."""
    return {
        f"{name}{mark}": {"description": text, "required": not mark, "schema": schema}
        for name, (text, schema) in ANSWER_HEADERS.items()
        for mark in ("", _MAYBE)
    }


def _in_path(rule: Rule) -> Iterator[Json]:
    for converter, name in _VARIABLE.findall(rule.rule):
        schema = _CONVERTERS.get(converter, {"type": "string"})
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(shape: Shape) -> Iterator[Json]:
    schema = shape.query.model_json_schema(ref_template=_REF) if shape.query else {}
    for name, told in schema.get("properties", {}).items():
        parameter = {"name": name, "in": "query", "description": told.pop("description", "")}
        yield parameter | {"required": name in schema.get("required", ()), "schema": told}
    for name in shape.signed:
        yield {"name": name, "in": "query", "description": _SIGNED, "schema": {"type": "string"}}


def _in_headers(shape: Shape) -> Iterator[Json]:
    for name in shape.headers:
        text, schema = REQUEST_HEADERS[name]
        yield {"name": name, "in": "header", "description": text, "schema": schema}


def _schemas() -> Json:
    queries = [shape.query for shape in ROUTES.values() if shape.query]
    asked = [(model, "validation") for model in (*_BODIES, *dict.fromkeys(queries))]
    told = [(model, "serialization") for model in _ANSWERS]
    _, made = models_json_schema([*asked, *told], ref_template=_REF)  # type: ignore[list-item]
    return {**made["$defs"], **SCHEMAS}


def _ref(name: str) -> Json:
    return {"$ref": _REF.format(model=name)}
