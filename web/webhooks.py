"""`/v1/webhooks`: what a receiver needs to verify them."""

from flask import Blueprint, Response, jsonify

from lorajobs.api_keys import Caller
from lorajobs.document import timestamp
from lorajobs.errors import ValidationFailed
from lorajobs.webhook_secrets import Secrets
from web.caller import caller
from web.deps import deps
from web.query import no_query

webhooks = Blueprint("webhooks", __name__, url_prefix="/v1/webhooks")
webhooks.before_request(no_query)


@webhooks.get("/secret")
def secret() -> Response:
    """Shows what signs the caller's webhooks: after a change two secrets, for a while."""
    return _told(webhook_secret_of(caller()))


@webhooks.post("/secret/rotate")
def rotate() -> Response:
    """Changes the secret of the key that asks, unless two secrets sign for it already."""
    who = caller()
    if not who.owner:
        raise ValidationFailed(
            "the secret of jobs without an API key is the operator's: LORAJOBS_WEBHOOK_SECRET"
        )
    return _told(deps().secrets.rotate(who.owner))


def webhook_secret_of(who: Caller) -> Secrets:
    """What signs the webhooks of a caller's jobs, for every surface of the API.

    Raises: StoreUnavailable.
    """
    return deps().secrets.of(who.owner)


def _told(found: Secrets) -> Response:
    return jsonify(
        secret=found.current,
        former=found.former,
        former_until=timestamp(found.former_until_ms),
    )
