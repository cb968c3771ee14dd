"""What the store on Redis does while its server is full, and after it was away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lorajobs.errors import StoreUnavailable, WorkerLost
from lorajobs.jobs import Job, JobStatus, Lease, Outcome
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from lorajobs.store import QueueRules, Signal
from tests.jobs import a_job, lease_of
from tests.services.valkey import valkey

DIED = WorkerLost("died").as_job_error()
RULES = QueueRules(lease_s=60)


class Site(NamedTuple):
    """A store on a server of its own."""

    client: Any
    store: RedisJobStore

    def claimed(self) -> Lease:
        job = a_job()
        self.store.submit(job, None)
        lease = lease_of(self.store.claim("demo", job.id, "w", job.id))
        assert lease is not None
        return lease

    def fill(self) -> None:
        """Nothing may be evicted, so from now on the server refuses whatever needs memory."""
        self.client.config_set("maxmemory", 1)

    def expire(self, lease: Lease) -> None:
        self.client.zadd("lorajobs:leases", {lease.job_id: 1})

    def status(self, lease: Lease) -> JobStatus:
        return self.store.get(lease.job_id).status


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with valkey(tmp_path) as server:
        client = connect(server.url)
        yield Site(client, RedisJobStore(client, RULES))
        client.close()


def test_a_full_server_takes_no_new_work_and_changes_nothing(site: Site) -> None:
    waiting = a_job()
    site.store.submit(waiting, None)
    site.fill()
    with pytest.raises(StoreUnavailable):
        site.store.submit(a_job(), None)
    with pytest.raises(StoreUnavailable):
        site.store.claim("demo", waiting.id, "w", "t")
    site.client.config_set("maxmemory", 0)
    assert site.store.backlog() == {"demo": 1}
    lease = lease_of(site.store.claim("demo", waiting.id, "w", "t"))
    assert lease == Lease(waiting.id, 1)


def test_a_full_server_lets_what_runs_go_on_and_end(site: Site) -> None:
    done, canceled, back, lost = (site.claimed() for _ in range(4))
    site.store.rescue()
    site.client.hset("lorajobs:pulse", "patient_ms", 0)
    site.expire(lost)
    site.fill()
    assert site.store.renew(done) is Signal.GO_ON
    assert site.store.finish(done, Outcome(status=JobStatus.SUCCEEDED))
    site.store.cancel(canceled.job_id)
    assert site.store.renew(canceled) is Signal.CANCEL
    assert site.store.requeue(back, DIED, refund=True) is JobStatus.QUEUED
    assert site.store.rescue().waiting_again == {"demo": 1}
    assert (site.status(done), site.status(lost)) == (JobStatus.SUCCEEDED, JobStatus.QUEUED)


def test_after_an_outage_live_workers_have_a_lease_to_renew_theirs(site: Site) -> None:
    lease = site.claimed()
    site.store.rescue()
    site.expire(lease)
    # The server was away, loading or stopped: nobody looked for longer than half a lease.
    site.client.hincrby("lorajobs:pulse", "ms", -31_000)
    assert site.store.rescue() == ({}, 0)
    assert site.store.rescue() == ({}, 0)
    assert site.store.renew(lease) is Signal.GO_ON


def test_and_then_what_they_did_not_renew_is_rescued(site: Site) -> None:
    lease = site.claimed()
    site.store.rescue()
    site.expire(lease)
    assert site.store.rescue() == ({}, 0)
    site.client.hset("lorajobs:pulse", "patient_ms", 0)
    assert site.store.rescue().waiting_again == {"demo": 1}


def test_a_job_that_is_claimed_after_its_deadline_expires_instead(site: Site) -> None:
    job: Job = a_job(start_deadline_s=60)
    site.store.submit(job, None)
    site.client.zadd("lorajobs:deadlines", {job.id: 1})
    assert site.store.claim("demo", job.id, "w", "t") is None
    assert site.store.get(job.id).status is JobStatus.EXPIRED
