"""The one way from a request's body into the queue, for every surface of the API."""

from lorajobs.document import Document, queue_document
from lorajobs.jobs import Job, JobStatus
from lorajobs.plan import Plan, plan
from lorajobs.request import JobRequest
from lorajobs.submit import submit
from web.caller import caller, own_loras, own_webhook, terms_of
from web.deps import deps


def planned(body: JobRequest) -> Plan:
    """The job that the body asks for, with all that is there for who asks.

    Raises: RequestError, LoraFetchFailed, ImageFetchFailed, PipelineUnknown, PromptCheckFailed,
    StorageUnavailable, StoreUnavailable.
    """
    d = deps()
    who = caller()
    sources = d.images.of_owner(who.owner)
    found = plan(body, d.catalog, own_loras(), d.check_webhook, who.owner, own_webhook(), sources)
    d.prompts.admit(found.spec)
    return found


def accept(body: JobRequest) -> tuple[Job, Document | None]:
    """Plans and queues the job; returns it and where it waits, None if it does not.

    What the request's Idempotency-Key names already is the job of that time.
    Raises: as `planned`; QueueFull, IdempotencyMismatch, JobNotFound for a job that was erased,
    UploadFailed.
    """
    d, terms = deps(), terms_of(body)
    if terms.once and (earlier := d.store.earlier(terms.once)):
        # Before it is planned: what it asks for may be there no more.
        return earlier, waiting(earlier)
    found = planned(body)
    serving = d.roster.serving(found.spec.model)
    job, place = submit(found, d.store, d.queue, serving, terms, d.images)
    # What the submit itself told: to ask for the place again costs as much as the submit.
    return job, queue_document(place, serving) if place else None


def waiting(job: Job) -> Document | None:
    """Where the job waits now, None if it does not."""
    if job.status is not JobStatus.QUEUED:
        return None
    d = deps()
    entry = d.catalog.models.get(job.spec.model)
    place = d.store.place(job.id, entry.window_us if entry else 0)
    return queue_document(place, d.roster.serving(job.spec.model)) if place else None
