"""What an attempt says of a job that has ended changes nothing, on memory and on a real Valkey."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from lorajobs.jobs import JobStatus, Outcome, Stage
from lorajobs.store import Progress, Signal
from tests.backends import Backend, MemoryBackend, RedisBackend
from tests.jobs import a_job, lease_of


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    made = (
        MemoryBackend()
        if request.param == "memory"
        else RedisBackend(request.getfixturevalue("valkey_url"))
    )
    with closing(made) as opened:
        yield opened


@pytest.mark.parametrize("end", [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED])
def test_late_progress_does_not_bring_an_ended_job_back(backend: Backend, end: JobStatus) -> None:
    store, job = backend.store, a_job()
    store.submit(job, backend.ticket)
    lease = lease_of(store.claim("demo", job.id, "w1", "t1"))
    assert lease
    assert store.renew(lease, Progress(Stage.DENOISING, 2, 4)) is Signal.GO_ON
    assert store.finish(lease, Outcome(status=end))
    ended, told = store.get(job.id), backend.events.events(job.id, "", 0)
    assert store.renew(lease, Progress(Stage.DENOISING, 3, 4)) is Signal.LOST
    assert store.get(job.id) == ended
    assert backend.events.events(job.id, "", 0) == told
    assert told[-1].kind == end
    assert told[-1].is_end
