"""`/openapi.json` and `/docs`: the API described by its own routes, models and docstrings."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify, render_template_string
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

import lorajobs
from lorajobs.jobs import AppliedLora, JobError, JobWarning, Metrics
from lorajobs.queries import JobQuery, Query, SubmitQuery, UploadQuery, UsageQuery, WaitQuery
from lorajobs.request import JobRequest, RegisterRequest
from web.openapi_page import PAGE
from web.openapi_schemas import HEADERS, SCHEMAS

Json = dict[str, Any]

openapi = Blueprint("openapi", __name__)

_REF = "#/components/schemas/{model}"
#: The models that bodies are validated by, and those that answers are made of.
_BODIES: tuple[type[BaseModel], ...] = (JobRequest, RegisterRequest)
_ANSWERS: tuple[type[BaseModel], ...] = (AppliedLora, JobError, JobWarning, Metrics)
_VARIABLE = re.compile(r"<(?:(\w+):)?(\w+)>")
_CONVERTERS = {"int": {"type": "integer", "minimum": 0}}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a route reads and answers, beyond what its rule and its docstring tell."""

    #: by status, the schema of the JSON or a media type; empty if there is no body
    answers: Mapping[int, str] = field(default_factory=lambda: {200: "Object"})
    body: type[BaseModel] | None = None
    #: True if a file is the body
    file: bool = False
    query: type[Query] = Query
    #: names in HEADERS
    headers: tuple[str, ...] = ()


_ONE_JOB = {200: "Job", 202: "Job"}
_SHAPES: Mapping[str, Shape] = {
    "jobs.create": Shape(
        answers={200: "JobOrDryRun", 202: "Job"},
        body=JobRequest,
        query=SubmitQuery,
        headers=("Prefer", "Idempotency-Key"),
    ),
    "jobs.show": Shape(answers={200: "Job"}, query=WaitQuery, headers=("Prefer",)),
    "jobs.index": Shape(answers={200: "JobPage"}, query=JobQuery),
    "jobs.cancel": Shape(answers=_ONE_JOB),
    "jobs.erase": Shape(answers={204: ""}),
    "jobs.output": Shape(answers={302: ""}),
    "events.stream": Shape(answers={200: "text/event-stream", 204: ""}, headers=("Last-Event-ID",)),
    "deliveries.redeliver": Shape(answers={202: "Object"}),
    "loras.register": Shape(answers={201: "Object"}, body=RegisterRequest),
    "loras.remove": Shape(answers={204: ""}),
    "uploads.upload": Shape(answers={201: "Object"}, query=UploadQuery, file=True),
    "usage.index": Shape(query=UsageQuery),
    "files.show": Shape(answers={200: "image/*"}),
    "metrics.index": Shape(answers={200: "text/plain"}),
    "openapi.page": Shape(answers={200: "text/html"}),
}


@openapi.get("/openapi.json")
def document() -> Response:
    """Describes the API (OpenAPI 3.1)."""
    return jsonify(described(current_app))


@openapi.get("/docs")
def page() -> Response:
    """Shows the description to people."""
    response = Response(render_template_string(PAGE, api=described(current_app)))
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return response


def described(app: Flask) -> Json:
    """The OpenAPI document of all routes of an application."""
    paths: Json = {}
    for rule in app.url_map.iter_rules():
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
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        # Without a key where the operator made none.
        "security": [{"key": []}, {}],
    }


def _operation(app: Flask, rule: Rule) -> Json:
    shape = _SHAPES.get(rule.endpoint, Shape())
    text = inspect.getdoc(app.view_functions[rule.endpoint]) or ""
    operation: Json = {
        "operationId": rule.endpoint,
        "summary": text.partition("\n")[0],
        "tags": [rule.endpoint.partition(".")[0]],
        "parameters": [*_in_path(rule), *_in_query(shape.query), *_in_headers(shape)],
        "responses": {
            **{str(status): _answer(status, what) for status, what in shape.answers.items()},
            "default": {
                "description": "A problem document (RFC 9457).",
                "content": {"application/problem+json": {"schema": _ref("Problem")}},
            },
        },
    }
    if shape.body:
        content = {"application/json": {"schema": _ref(shape.body.__name__)}}
        operation["requestBody"] = {"required": True, "content": content}
    if shape.file:
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _in_path(rule: Rule) -> Iterator[Json]:
    for converter, name in _VARIABLE.findall(rule.rule):
        schema = _CONVERTERS.get(converter, {"type": "string"})
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(query: type[Query]) -> Iterator[Json]:
    schema = query.model_json_schema(ref_template=_REF)
    for name, told in schema.get("properties", {}).items():
        text = told.pop("description", "")
        yield {"name": name, "in": "query", "description": text, "schema": told}


def _in_headers(shape: Shape) -> Iterator[Json]:
    for name in shape.headers:
        text, schema = HEADERS[name]
        yield {"name": name, "in": "header", "description": text, "schema": schema}


def _answer(status: int, what: str) -> Json:
    answer: Json = {"description": HTTPStatus(status).phrase}
    if "/" in what:
        answer["content"] = {what: {"schema": {"type": "string"}}}
    elif what:
        answer["content"] = {"application/json": {"schema": _ref(what)}}
    return answer


def _schemas() -> Json:
    asked = [(model, "validation") for model in (*_BODIES, JobQuery, UsageQuery)]
    told = [(model, "serialization") for model in _ANSWERS]
    _, made = models_json_schema([*asked, *told], ref_template=_REF)  # type: ignore[list-item]
    return {**made["$defs"], **SCHEMAS}


def _ref(name: str) -> Json:
    return {"$ref": _REF.format(model=name)}
