"""`/v1/loras`: the registered adapters."""

from flask import Blueprint, Response, jsonify, request

from lorajobs.request import RegisterRequest
from web.body import json_body
from web.caller import caller, own_loras
from web.deps import deps
from web.examples import example_picture
from web.query import no_query
from web.registration import AWAITED, awaited, example_of, lora_document, registered, unknown
from web.uploads import FORM, from_form

loras = Blueprint("loras", __name__, url_prefix="/v1/loras")
loras.before_request(no_query)


@loras.get("")
def index() -> Response:
    """Lists the adapters that are ready."""
    return jsonify(loras=[lora_document(record) for record in own_loras().records()])


@loras.get("/<lora_id>")
def show(lora_id: str) -> Response:
    """Shows an adapter."""
    d, who = deps(), caller()
    if record := d.library.find(lora_id, who):
        return jsonify(lora_document(record))
    if upload := d.uploads.find(lora_id, who):
        return jsonify(lora_document(upload.record, AWAITED))
    raise unknown(lora_id)


@loras.get("/<lora_id>/example")
def example(lora_id: str) -> Response:
    """Shows a picture that was made with the adapter."""
    record = deps().library.find(lora_id, caller())
    if record is None:
        raise unknown(lora_id)
    return example_picture(example_of(record))


@loras.post("")
def register() -> Response:
    """Registers an adapter and pins its present version, or tells where to send its file."""
    if request.mimetype == FORM:
        return from_form()
    body = RegisterRequest.parse(json_body())
    return awaited(body, body.upload) if body.upload else registered(body)


@loras.post("/<lora_id>/complete")
def complete(lora_id: str) -> Response:
    """Registers an adapter whose file was sent, once it is found to be one of its base."""
    return jsonify(lora_document(deps().uploads.complete(lora_id, caller())))


@loras.delete("/<lora_id>")
def remove(lora_id: str) -> Response:
    """Ends a registration, or an upload; jobs that wait keep their version."""
    d, who = deps(), caller()
    was_awaited = d.uploads.drop(lora_id, who)
    if not d.library.remove(lora_id, who) and not was_awaited:
        raise unknown(lora_id)
    return Response(status=204)
