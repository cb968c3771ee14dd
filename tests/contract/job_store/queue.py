"""A queue in use: what is claimed, what waits, and how an attempt ends."""

from lorajobs.errors import WorkerLost
from lorajobs.job_page import JobFilter
from lorajobs.jobs import Job, JobStatus, Lease, Outcome
from lorajobs.spec import Webhook
from tests.backends import Store
from tests.jobs import lease_of

DIED = WorkerLost("died").as_job_error()
DONE = Outcome(status=JobStatus.SUCCEEDED)
HOOK = Webhook(url="https://receiver.example/hook")


def claimed(store: Store, job: Job, worker: str = "w1") -> Lease:
    store.submit(job, None)
    lease = lease_of(store.claim("demo", job.id, worker, f"ticket-{job.id}"))
    assert lease is not None
    return lease


def waiting(store: Store) -> list[str]:
    """The jobs that may be claimed, in the order of their places."""
    queued = store.page(JobFilter(status=JobStatus.QUEUED), 100, None).jobs
    places = {job.id: place for job in queued if (place := store.place(job.id, 0))}
    here = [job_id for job_id, place in places.items() if not place.delayed]
    return sorted(here, key=lambda job_id: places[job_id].position)
