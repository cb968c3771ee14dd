"""Registering an adapter, however its file comes, and what is told of it."""

from pathlib import Path

from flask import Response, jsonify

from lorajobs.adapters.registry import LoraRecord
from lorajobs.adapters.upload import Upload
from lorajobs.catalog import LoraEntry
from lorajobs.document import timestamp, without_secrets
from lorajobs.errors import LoraNotRegistered
from lorajobs.field_errors import blamed, listed, shown
from lorajobs.request import RegisterRequest, UploadRequest
from web.caller import caller, own_loras
from web.deps import deps, public_url
from web.examples import example_url

READY, AWAITED = "ready", "awaiting_upload"


def registered(request: RegisterRequest, upload: Upload | None = None) -> Response:
    """Does what was asked, and answers it."""
    who = caller()
    with blamed("", "" if upload else "/source"):
        record = deps().library.register(
            _entry(request, str(upload or request.source)),
            who,
            request.visibility or who.default_visibility,
            upload,
        )
    return _created(record, lora_document(record))


def awaited(request: RegisterRequest, file: UploadRequest) -> Response:
    """Tells where the file is to be sent."""
    who = caller()
    begun = deps().uploads.begin(
        _entry(request, ""),
        who,
        request.visibility or who.default_visibility,
        file.bytes,
        file.sha256,
    )
    signed = begun.signed
    upload = {
        "method": "PUT",
        "url": signed.url,
        "headers": signed.headers,
        "expires_at": timestamp(int(signed.expires_at.timestamp() * 1000)),
    }
    return _created(begun.record, lora_document(begun.record, AWAITED) | {"upload": upload})


def unknown(lora_id: str) -> LoraNotRegistered:
    """The error for an id that names nothing."""
    known = listed(lora_id, [record.id for record in own_loras().records()])
    return LoraNotRegistered(f"no adapter is registered as {shown(lora_id)}; known are {known}")


def lora_document(record: LoraRecord, status: str = READY) -> dict[str, object]:
    """An adapter as clients see it."""
    adapter = record.adapter
    return {
        # Another key's private one is shown to admins alone, by the name that finds it.
        "id": record.id if record.owner == caller().owner else record.name,
        "status": status,
        "owner": record.owner or None,
        "visibility": record.visibility,
        # A path of this server is nobody else's business.
        "source": None if record.source[:1] in ("", "/") else without_secrets(record.source),
        "base": record.base,
        "scale": record.scale,
        "trigger_words": record.trigger_words,
        "license": record.license,
        "example_url": example_url("loras", record.id) if example_of(record) else None,
        "weight_name": adapter.weight_name if adapter else record.weight_name,
        # None until an adapter of lorajobs.toml is first used, or the file came.
        "revision": adapter.revision if adapter else None,
        "sha256": adapter.sha256 if adapter else None,
        "bytes": adapter.bytes if adapter else None,
        "configured": record.configured,
        "created_at": timestamp(record.created_ms),
    }


def example_of(record: LoraRecord) -> Path | None:
    """The picture that the operator configured for it."""
    return deps().catalog.loras[record.id].example if record.configured else None


def _entry(request: RegisterRequest, source: str) -> LoraEntry:
    said = request.model_dump(exclude={"visibility", "upload", "source"})
    return LoraEntry.model_validate(said | {"source": source})


def _created(record: LoraRecord, document: dict[str, object]) -> Response:
    response = jsonify(document)
    response.status_code = 201
    response.location = f"{public_url()}/v1/loras/{record.id}"
    return response
