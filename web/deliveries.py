"""`/v1/jobs/{id}/deliveries`: the webhooks of a job, and sending one again."""

from flask import Blueprint, Response, jsonify

from lorajobs.document import timestamp, without_secrets
from lorajobs.outbox import DeliveryRecord
from web.caller import own_job
from web.deps import deps
from web.query import no_query

deliveries = Blueprint("deliveries", __name__, url_prefix="/v1/jobs/<job_id>/deliveries")
deliveries.before_request(no_query)


@deliveries.get("")
def index(job_id: str) -> Response:
    """Lists a job's webhooks with every try, oldest first."""
    job = own_job(job_id)
    return jsonify(deliveries=[_document(record) for record in deps().store.deliveries(job.id)])


@deliveries.post("/<delivery_id>/redeliver")
def redeliver(job_id: str, delivery_id: str) -> Response:
    """Sends a webhook again, whatever became of it."""
    job = own_job(job_id)
    response = jsonify(_document(deps().store.redeliver(job.id, delivery_id)))
    response.status_code = 202
    return response


def _document(record: DeliveryRecord) -> dict[str, object]:
    delivery = record.delivery
    return {
        "id": delivery.id,
        "event": delivery.event,
        "url": without_secrets(delivery.url),
        "status": record.status,
        "tries": delivery.tries,
        "next_try_at": timestamp(record.next_try_ms),
        "log": [{"at": timestamp(at_ms), "result": result} for at_ms, result in record.log],
    }
