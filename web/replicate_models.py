"""Base models and adapters as Replicate shows models and their versions."""

from collections.abc import Mapping
from typing import Any

import lorajobs
from lorajobs.catalog import Defaults
from lorajobs.document import Document, timestamp
from lorajobs.prediction import reference
from web.caller import caller, own_loras
from web.deps import deps, public_url
from web.replicate_shapes import PredictionInput

_REF = "#/components/schemas/{model}"
_OUTPUT = {"type": "array", "items": {"type": "string", "format": "uri"}}


def model_document(name: str) -> Document:
    """The base model or adapter of this id, which is there for the caller.

    Raises: StoreUnavailable.
    """
    d, record = deps(), None
    entry = d.catalog.model(name)
    if entry is None:
        record = own_loras().find(name)
    owner, _, short = reference(name).partition("/")
    return {
        "url": f"{public_url()}/v1/models/{owner}/{short}",
        "owner": owner,
        "name": short,
        "description": f"A LoRA adapter of {record.base}" if record else "A base model",
        "visibility": record.visibility if record else "public",
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": _runs("adapter" if record else "model", name),
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version_document(name),
    }


def version_document(name: str) -> Document:
    """The one version of it: what is served now, under its own id."""
    d = deps()
    entry = d.catalog.model(name)
    record = None if entry else own_loras().find(name)
    base = entry or (d.catalog.model(record.base) if record else None)
    return {
        "id": name,
        # Nothing tells since when a base is there; clients want a time.
        "created_at": timestamp(record.created_ms if record and record.created_ms else 0),
        "cog_version": f"lorajobs {lorajobs.__version__}",
        "openapi_schema": _schema(base.defaults if base else None),
    }


def _runs(by: Any, name: str) -> int:  # noqa: ANN401
    owner = None if caller().sees_all else caller().owner
    used = deps().usage.usage(by, owner)
    return next((row.jobs for row in used if row.name == name), 0)


def _schema(defaults: Defaults | None) -> Mapping[str, object]:
    """Input and output as Cog describes them, with the base's defaults."""
    asked = PredictionInput.model_json_schema(ref_template=_REF)
    nested = asked.pop("$defs", {})
    for name, value in (defaults.model_dump() if defaults else {}).items():
        if name in asked["properties"]:
            asked["properties"][name]["default"] = value
    return {
        "openapi": "3.1.0",
        "info": {"title": "lorajobs", "version": lorajobs.__version__},
        "paths": {},
        "components": {"schemas": {"Input": asked, "Output": _OUTPUT, **nested}},
    }
