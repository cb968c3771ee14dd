"""`/v1/loras`: the registered adapters."""

from flask import Blueprint, Response, jsonify

from lorajobs.adapters.registry import LoraRecord
from lorajobs.adapters.upload import Upload
from lorajobs.catalog import LoraEntry
from lorajobs.document import timestamp, without_secrets
from lorajobs.errors import LoraNotRegistered
from lorajobs.field_errors import blamed, listed, shown
from lorajobs.request import RegisterRequest
from web.body import json_body
from web.caller import caller, own_loras
from web.deps import deps, public_url
from web.query import no_query

loras = Blueprint("loras", __name__, url_prefix="/v1/loras")
loras.before_request(no_query)


@loras.get("")
def index() -> Response:
    """Lists the adapters."""
    return jsonify(loras=[_document(record) for record in own_loras().records()])


@loras.get("/<lora_id>")
def show(lora_id: str) -> Response:
    """Shows an adapter."""
    record = own_loras().find(lora_id)
    if record is None:
        raise _unknown(lora_id)
    return jsonify(_document(record))


@loras.post("")
def register() -> Response:
    """Registers an adapter, and pins its present version."""
    return registered(RegisterRequest.parse(json_body()))


def registered(request: RegisterRequest, upload: Upload | None = None) -> Response:
    """Does what was asked, and answers it."""
    who = caller()
    entry = LoraEntry.model_validate(request.model_dump(exclude={"visibility"}))
    visibility = request.visibility or who.default_visibility
    with blamed("", "" if upload else "/source"):
        record = deps().library.register(entry, who, visibility, upload)
    response = jsonify(_document(record))
    response.status_code = 201
    response.location = f"{public_url()}/v1/loras/{record.id}"
    return response


@loras.delete("/<lora_id>")
def remove(lora_id: str) -> Response:
    """Ends a registration; jobs that wait keep their version."""
    if not deps().library.remove(lora_id, caller()):
        raise _unknown(lora_id)
    return Response(status=204)


def _unknown(lora_id: str) -> LoraNotRegistered:
    known = listed(lora_id, [record.id for record in own_loras().records()])
    return LoraNotRegistered(f"no adapter is registered as {shown(lora_id)}; known are {known}")


def _document(record: LoraRecord) -> dict[str, object]:
    adapter = record.adapter
    return {
        # Another key's private one is shown to admins alone, by the name that finds it.
        "id": record.id if record.owner == caller().owner else record.name,
        "owner": record.owner or None,
        "visibility": record.visibility,
        # A path of this server is nobody else's business.
        "source": None if record.source.startswith("/") else without_secrets(record.source),
        "base": record.base,
        "scale": record.scale,
        "trigger_words": record.trigger_words,
        "license": record.license,
        "weight_name": adapter.weight_name if adapter else record.weight_name,
        # None until an adapter of lorajobs.toml is first used.
        "revision": adapter.revision if adapter else None,
        "sha256": adapter.sha256 if adapter else None,
        "bytes": adapter.bytes if adapter else None,
        "configured": record.configured,
        "created_at": timestamp(record.created_ms),
    }
