"""`docs/http.md`: what `/openapi.json` says, for people."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from lorajobs.settings import Settings
from reference.markdown import MADE, joined, table
from web import Deps, create_app
from web.gate import FOREIGN
from web.openapi import described

Json = Mapping[str, Any]

INTRO = (
    "Every running API has the same as `/openapi.json` (OpenAPI 3.1) and as the page `/docs`. [The "
    "API](api.md) tells what belongs together. Errors are [codes](codes.md). " + MADE
)
THEIRS = (
    "These take and answer what [clients of other APIs](compatibility.md) expect; `/openapi.json` "
    "has their schemas."
)
#: Headers that every answer has, or every one to a key.
QUIET = {"X-Content-Type-Options", "X-Request-ID", "Cache-Control"} | {
    f"RateLimit-{what}" for what in ("Limit", "Remaining", "Reset")
}


def page() -> str:
    """The whole page."""
    api = document()
    ours, theirs = [], []
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            title = f"{method.upper()} {path}"
            if set(operation["tags"]) & FOREIGN:
                theirs.append((f"`{title}`", operation["summary"]))
            else:
                ours.append(joined([f"### {title}", *_operation(operation)]))
    schemas = api["components"]["schemas"]
    shown = _reached(api, schemas)
    return joined(
        [
            "# HTTP routes",
            INTRO,
            "## Routes",
            *ours,
            "## Routes of other APIs",
            THEIRS,
            table(("route", "what it does"), theirs),
            "## Schemas",
            *(
                joined([f"### {name}", *_schema(schemas[name])])
                for name in schemas
                if name in shown
            ),
        ]
    )


def document() -> Json:
    """The OpenAPI document, made without any service: they are connected to by requests."""
    settings = Settings(data_dir=Path(gettempdir()), redis_url="redis://127.0.0.1:1")
    return described(create_app(Deps.open(settings)))


def _operation(operation: Json) -> Iterator[str]:
    yield operation["summary"]
    yield table(
        ("parameter", "in", "type", "meaning"),
        [
            (f"`{it['name']}`", it["in"], kind(it["schema"]), it.get("description", ""))
            for it in operation["parameters"]
        ],
    )
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body: `{media}`, {kind(content['schema'])}"
    yield table(
        ("status", "body", "headers"),
        [
            (status, _body(answer), ", ".join(sorted(set(answer.get("headers", ())) - QUIET)))
            for status, answer in operation["responses"].items()
        ],
    )


def _body(answer: Json) -> str:
    contents = answer.get("content", {})
    if "application/problem+json" in contents:
        return str(answer["description"])
    return ", ".join(
        kind(content["schema"]) if media == "application/json" else f"`{media}`"
        for media, content in contents.items()
    )


def _schema(schema: Json) -> Iterator[str]:
    yield schema.get("description", "")
    if "properties" not in schema:
        yield kind(schema)
        return
    required = schema.get("required", ())
    yield table(
        ("field", "type", "meaning"),
        [
            (f"`{name}`" + (" (required)" if name in required else ""), kind(it), _meaning(it))
            for name, it in schema["properties"].items()
        ],
    )


def _meaning(schema: Json) -> str:
    default = schema.get("default")
    told = f"; `{json.dumps(default)}` if left out" if default not in (None, [], {}) else ""
    text: str = schema.get("description", "")
    return (text + told).removeprefix("; ")


def kind(schema: Json) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    several = schema.get("anyOf") or schema.get("oneOf")
    if several:
        return " or ".join(dict.fromkeys(kind(one) for one in several))
    if "allOf" in schema:
        return kind(schema["allOf"][0])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    return _plain(schema)


def _plain(schema: Json) -> str:
    types = schema.get("type", "any")
    if types == "array":
        return f"list of {kind(schema.get('items', {}))}"
    return " or ".join([types] if isinstance(types, str) else types)


def _reached(api: Json, schemas: Json) -> set[str]:
    """The schemas that our own routes lead to, over any number of others."""
    ours = [
        operation
        for methods in api["paths"].values()
        for operation in methods.values()
        if not set(operation["tags"]) & FOREIGN
    ]
    found: set[str] = set()
    waiting = list(_references(ours))
    while waiting:
        name = waiting.pop()
        if name not in found and name in schemas:
            found.add(name)
            waiting += _references(schemas[name])
    return found


def _references(tree: object) -> Iterator[str]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key == "$ref" and "/schemas/" in value:
                yield value.rpartition("/")[2]
            else:
                yield from _references(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _references(value)
