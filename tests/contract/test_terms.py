"""On what terms a store takes jobs, and whose they are, in memory and on a real Valkey."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lorajobs.access_errors import IdempotencyMismatch
from lorajobs.errors import JobNotFound, QueueFull
from lorajobs.job_page import JobFilter
from lorajobs.jobs import Job, JobStatus
from lorajobs.store import QueueRules
from lorajobs.terms import KEPT_S, Once, Terms
from tests.backends import Backend, MemoryBackend, RedisBackend
from tests.jobs import a_job

RULES = QueueRules(lease_s=50, max_waiting=8, max_waiting_per_key=3)
BODY = {"model": "demo", "prompt": "a red heart", "metadata": {"a": "1", "b": "ü"}}
ONCE = Once.of("anna", "/v1/jobs", "key-1", BODY)
TERMS = Terms(once=ONCE)


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    backend: Backend
    if request.param == "memory":
        backend = MemoryBackend(RULES)
    else:
        backend = RedisBackend(request.getfixturevalue("valkey_url"), RULES)
    yield backend
    backend.close()


def forget(backend: Backend) -> None:
    """Lets the names of all requests be forgotten, as if their time had passed."""
    if isinstance(backend, RedisBackend):
        for name in backend.client.keys(f"{backend.prefix}:once:*"):
            assert 0 < backend.client.ttl(name) <= KEPT_S
            assert backend.client.ttl(name) > KEPT_S - 60
            backend.client.delete(name)
    else:
        backend.advance(KEPT_S)


def test_a_request_is_the_same_whatever_the_order_of_its_fields() -> None:
    turned = {"metadata": {"b": "ü", "a": "1"}, "prompt": "a red heart", "model": "demo"}
    assert Once.of("anna", "/v1/jobs", "key-1", turned) == ONCE
    for other in (
        Once.of("ben", "/v1/jobs", "key-1", BODY),
        Once.of("anna", "/v1/other", "key-1", BODY),
        Once.of("anna", "/v1/jobs", "key-2", BODY),
        # No two of the three run into each other.
        Once.of("ann", "a/v1/jobs", "key-1", BODY),
    ):
        assert other.name != ONCE.name
        assert other.fingerprint == ONCE.fingerprint
    assert Once.of("anna", "/v1/jobs", "key-1", BODY | {"seed": 1}).name == ONCE.name


def test_a_repeated_request_finds_its_job_whatever_became_of_it(backend: Backend) -> None:
    store = backend.store
    job = a_job(owner="anna")
    assert store.earlier(ONCE) is None
    first = store.submit(job, backend.ticket, terms=TERMS)
    assert (first.is_new, first.job_id) == (True, job.id)
    assert store.earlier(ONCE) == store.get(job.id)
    again = store.submit(a_job(owner="anna"), backend.ticket, terms=TERMS)
    assert again == first._replace(is_new=False)
    assert backend.pushed() == 1
    store.cancel(job.id)
    ended = store.submit(a_job(owner="anna"), backend.ticket, terms=TERMS)
    assert (ended.job_id, ended.is_new, ended.place) == (job.id, False, None)
    assert store.backlog() == {"demo": 0}


def test_a_lost_reply_of_a_named_request_is_no_second_job(backend: Backend) -> None:
    job = a_job(owner="anna")
    first = backend.store.submit(job, None, terms=TERMS)
    assert backend.store.submit(job, None, terms=TERMS) == first._replace(is_new=False)


def test_the_name_of_another_request_is_refused(backend: Backend) -> None:
    store = backend.store
    store.submit(a_job(owner="anna"), None, terms=TERMS)
    other = Once.of("anna", "/v1/jobs", "key-1", BODY | {"seed": 1})
    with pytest.raises(IdempotencyMismatch, match="another body"):
        store.submit(a_job(owner="anna"), None, terms=Terms(once=other))
    with pytest.raises(IdempotencyMismatch):
        store.earlier(other)
    assert store.backlog() == {"demo": 1}


def test_a_rejected_request_leaves_its_name_free(backend: Backend) -> None:
    store = backend.store
    waiting = [a_job(owner="anna") for _ in range(3)]
    for job in waiting:
        store.submit(job, None)
    with pytest.raises(QueueFull, match="3 jobs of this API key"):
        store.submit(a_job(owner="anna"), None, terms=TERMS)
    assert store.earlier(ONCE) is None
    store.cancel(waiting[0].id)
    other = Once.of("anna", "/v1/jobs", "key-1", BODY | {"seed": 1})
    assert store.submit(a_job(owner="anna"), None, terms=Terms(once=other)).is_new
    # A replay is no new job, so a full queue does not refuse it.
    assert not store.submit(a_job(owner="anna"), None, terms=Terms(once=other)).is_new


def test_the_job_of_a_name_that_was_erased_is_not_made_again(backend: Backend) -> None:
    store = backend.store
    job = a_job(owner="anna")
    store.submit(job, None, terms=TERMS)
    store.cancel(job.id)
    store.delete(job.id)
    with pytest.raises(JobNotFound, match="was erased"):
        store.earlier(ONCE)
    with pytest.raises(JobNotFound, match="was erased"):
        store.submit(a_job(owner="anna"), None, terms=TERMS)
    forget(backend)
    assert store.submit(a_job(owner="anna"), None, terms=TERMS).is_new


def test_a_name_is_kept_for_a_day(backend: Backend) -> None:
    store = backend.store
    store.submit(a_job(owner="anna"), None, terms=TERMS)
    forget(backend)
    assert store.earlier(ONCE) is None
    assert store.submit(a_job(owner="anna"), None, terms=TERMS).is_new


def test_many_at_once_with_one_name_make_one_job(backend: Backend) -> None:
    jobs = [a_job(owner="anna") for _ in range(32)]

    def submit(job: Job) -> tuple[str, bool]:
        submitted = backend.store.submit(job, backend.ticket, terms=TERMS)
        return submitted.job_id, submitted.is_new

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(submit, jobs))
    assert len({job_id for job_id, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
    assert backend.pushed() == 1
    assert backend.store.backlog() == {"demo": 1}


def test_a_keys_own_limit_counts_before_the_rule(backend: Backend) -> None:
    store = backend.store
    for _ in range(4):
        store.submit(a_job(owner="anna"), None, terms=Terms(max_waiting=4))
    with pytest.raises(QueueFull, match="4 jobs of this API key"):
        store.submit(a_job(owner="anna"), None, terms=Terms(max_waiting=4))
    with pytest.raises(QueueFull, match="4 jobs of this API key"):
        store.outlook(a_job(owner="anna"), 0, Terms(max_waiting=4))
    store.submit(a_job(owner="ben"), None, terms=Terms(max_waiting=1))
    with pytest.raises(QueueFull):
        store.submit(a_job(owner="ben"), None, terms=Terms(max_waiting=1))
    # Without a key only the queue's own limit counts.
    for _ in range(3):
        store.submit(a_job(), None)


def test_a_key_lists_its_own_jobs_in_pages(backend: Backend) -> None:
    store = backend.store
    mine = [a_job(owner="anna") for _ in range(3)]
    for job in mine:
        backend.tick()
        store.submit(job, None)
        store.submit(a_job(owner="ben" if job is mine[0] else ""), None)
    # On a server several may be of one millisecond.
    mine.sort(key=lambda job: (store.get(job.id).created_ms, job.id))
    first = store.page(JobFilter(owner="anna"), 2, None)
    assert [job.id for job in first.jobs] == [mine[2].id, mine[1].id]
    rest = store.page(JobFilter(owner="anna"), 2, first.cursor)
    assert ([job.id for job in rest.jobs], rest.cursor) == ([mine[0].id], None)
    assert len(store.page(JobFilter(), 10, None).jobs) == 6
    assert len(store.page(JobFilter(owner=""), 10, None).jobs) == 2
    assert len(store.page(JobFilter(owner="ben", status=JobStatus.QUEUED), 10, None).jobs) == 1
    assert store.page(JobFilter(owner="nix"), 10, None).jobs == []
    store.cancel(mine[1].id)
    store.delete(mine[1].id)
    left = store.page(JobFilter(owner="anna"), 10, None).jobs
    assert [job.id for job in left] == [mine[2].id, mine[0].id]


def test_a_keys_list_reads_no_other_keys_jobs(valkey_url: str) -> None:
    backend = RedisBackend(valkey_url, RULES._replace(max_waiting=1000))
    for _ in range(200):
        backend.store.submit(a_job(owner=""), None)
    backend.store.submit(a_job(owner="anna"), None)

    def calls() -> int:
        return int(backend.client.info("commandstats")["cmdstat_hgetall"]["calls"])

    backend.store.page(JobFilter(owner="anna"), 10, None)
    before = calls()
    assert len(backend.store.page(JobFilter(owner="anna"), 10, None).jobs) == 1
    assert calls() - before == 1
    backend.close()
