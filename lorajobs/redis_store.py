"""The job store on Redis or Valkey: one atomic script per verb, key schema in `lua/keys.lua`."""

from collections.abc import Mapping, Sequence

import redis

from lorajobs.errors import JobNotFinished, JobNotFound, QueueFull, WorkerLost
from lorajobs.job_page import JobFilter, JobPage
from lorajobs.jobs import Job, JobError, JobStatus, Lease, Outcome
from lorajobs.moved import Moved, rescued
from lorajobs.place import NOBODY, Crew, Place, Submitted
from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.redis_outbox import RedisOutbox
from lorajobs.redis_record import (
    dump_outcome,
    dump_submit,
    load_job,
    load_place,
    load_turn,
)
from lorajobs.settings import Settings
from lorajobs.snapshot import SNAPSHOT_LIMIT, Snapshot
from lorajobs.store import DEFAULT_RULES, LATE, Progress, QueueRules, Rescued, Signal, Trade
from lorajobs.store_errors import RecordUnreadable
from lorajobs.terms import DEFAULT_TERMS, ERASED, KEPT_S, Once, Terms, require_same

_SWEEP_LIMIT = 100

_SIGNALS = {0: Signal.LOST, 1: Signal.GO_ON, 2: Signal.CANCEL}


class RedisJobStore(RedisOutbox):
    """JobStore, LeaseStore, Housekeeping and Workers on one Redis.

    Every method raises StoreUnavailable while Redis is down, full or loading.
    """

    def __init__(
        self, client: redis.Redis, rules: QueueRules = DEFAULT_RULES, prefix: str = PREFIX
    ) -> None:
        super().__init__(client, prefix)
        self._rules = rules
        self._lease_ms = int(rules.lease_s * 1000)

    # The API's side

    def submit(
        self,
        job: Job,
        ticket: Mapping[str, str] | None,
        *,
        window_us: int = 0,
        crew: Crew = NOBODY,
        terms: Terms = DEFAULT_TERMS,
    ) -> Submitted:
        """Writes and queues the job; its `created_ms` is this Redis's clock, not the caller's."""
        once = (*terms.once, KEPT_S * 1000) if terms.once else ("", "", 0)
        arguments = self._submission(job, ticket, terms)
        answer = self._run("submit", *arguments, window_us, *crew, *once)
        self._require_accepted(answer, job.spec.model, terms)
        created_ms, is_new, place, job_id = answer
        place = load_place(place) if place else None
        return Submitted(created_ms, bool(is_new), place, job_id)

    def earlier(self, once: Once) -> Job | None:
        with translated():
            names = ["job", "fingerprint"]
            job_id, fingerprint = self._redis.hmget(self._key("once", once.name), names)
        if job_id is None:
            return None
        require_same(once, fingerprint)
        try:
            return self.get(job_id)
        except JobNotFound as error:
            raise JobNotFound(ERASED) from error

    def outlook(self, job: Job, window_us: int, terms: Terms = DEFAULT_TERMS) -> Place:
        spec, rules = job.spec, self._rules
        answer = self._run(
            "outlook",
            *(job.id, spec.model, spec.owner, spec.group, rules.head_start_ms(spec.priority)),
            *(rules.max_waiting, rules.most_of_key(terms), window_us),
        )
        self._require_accepted(answer, spec.model, terms)
        return load_place(answer)

    def _require_accepted(self, answer: object, model: str, terms: Terms) -> None:
        """Raises what a script's answer says."""
        if answer == -1:
            full = f"{self._rules.max_waiting:,} jobs may wait for {model} (LORAJOBS_MAX_WAITING)"
            raise QueueFull(f"{full}, and do; try again later")
        if answer == -2:
            limit = self._rules.most_of_key(terms)
            full = f"{limit:,} jobs of this API key may wait for {model}"
            raise QueueFull(f"{full}, and do; let some of them end first")
        if answer == -3 and terms.once:
            require_same(terms.once, fingerprint="")
        if answer == -4:
            raise JobNotFound(ERASED)

    def _submission(
        self, job: Job, ticket: Mapping[str, str] | None, terms: Terms
    ) -> Sequence[str | int]:
        spec, rules = job.spec, self._rules
        return (
            *dump_submit(job),
            rules.max_attempts,
            spec.all_steps,
            rules.head_start_ms(spec.priority),
            *_pushed(ticket),
            "" if spec.start_deadline_s is None else spec.start_deadline_s * 1000,
            rules.max_waiting,
            rules.most_of_key(terms),
            int(rules.retention_s * 1000),
        )

    def get(self, job_id: str) -> Job:
        with translated():
            record = self._redis.hgetall(self._key("job", job_id))
        if not record:
            raise JobNotFound(f"no job has the id {job_id!r}")
        return load_job(record)

    def page(self, where: JobFilter, limit: int, cursor: str | None) -> JobPage:
        index = self._key("jobs") if where.owner is None else self._key("owned", where.owner)
        found: list[Job] = []
        ceiling, after = _cursor(cursor)
        while True:
            with translated():
                rows = self._redis.zrevrangebyscore(
                    index, ceiling, "-inf", start=0, num=limit + 64, withscores=True
                )
            fresh = [(i, int(s)) for i, s in rows if after is None or (int(s), i) < after]
            for job in self._jobs([i for i, _ in fresh]):
                if not where.matches(job):
                    continue
                if len(found) == limit:
                    return JobPage(found, f"{found[-1].created_ms}-{found[-1].id}")
                found.append(job)
            if not fresh:
                return JobPage(found, None)
            after = (fresh[-1][1], fresh[-1][0])
            ceiling = str(after[0])

    def _jobs(self, ids: Sequence[str]) -> Sequence[Job]:
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hgetall(self._key("job", job_id))
            return [load_job(record) for record in pipe.execute() if record]

    def cancel(self, job_id: str) -> Job:
        if not self._run("cancel", job_id):
            raise JobNotFound(f"no job has the id {job_id!r}")
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        answer = self._run("delete", job_id)
        if answer == 0:
            raise JobNotFound(f"no job has the id {job_id!r}")
        if answer == -1:
            raise JobNotFinished("the job still waits or runs; cancel it first")

    def place(self, job_id: str, window_us: int) -> Place | None:
        row = self._run("place", job_id, window_us)
        return None if row is None else load_place(row)

    # The worker's side

    def snapshot(
        self, model: str, worker: str = "", loaded: str = "", limit: int = SNAPSHOT_LIMIT
    ) -> Snapshot:
        now, turns = self._run("snapshot", model, worker, loaded, limit)
        return Snapshot(now, [load_turn(row, loaded) for row in turns])

    def claim(
        self,
        model: str,
        job_id: str | None,
        worker: str,
        ticket: str,
        trade: Trade | None = None,
    ) -> Job | None:
        traded = (*_pushed(trade.given), trade.taken) if trade else ("", "", "")
        error = LATE.model_dump_json()
        known = (model, job_id or "", worker, ticket, self._lease_ms, error)
        row = self._run("claim", *known, *traded)
        if row is None:
            return None
        fields = iter(row[2])
        try:
            return load_job(dict(zip(fields, fields, strict=True)))
        except RecordUnreadable as error:
            raise RecordUnreadable(error.detail, Lease(row[0], int(row[1]))) from error

    def refuse(self, job_id: str, error: JobError, by: str = "", of: int = 1) -> bool:
        return bool(self._run("refuse", job_id, error.model_dump_json(), by, of))

    def renew(self, lease: Lease, progress: Progress | None = None) -> Signal:
        return _SIGNALS[self._run("renew", *lease, self._lease_ms, *(progress or ()))]

    def finish(self, lease: Lease, outcome: Outcome) -> bool:
        return bool(self._run("finish", *lease, *dump_outcome(outcome)))

    def requeue(
        self,
        lease: Lease,
        error: JobError,
        *,
        delay_s: float = 0,
        refund: bool = False,
        ticket: Mapping[str, str] | None = None,
    ) -> JobStatus | None:
        status = self._run(
            "requeue",
            *lease,
            error.model_dump_json(),
            int(delay_s * 1000),
            int(refund),
            *_pushed(ticket),
        )
        return JobStatus(status) if status else None

    # The courier's and the operator's side

    def rescue(self) -> Rescued:
        error = WorkerLost("the worker died on every attempt").as_job_error()
        told = self._run(
            "rescue",
            self._lease_ms,
            error.model_dump_json(),
            _SWEEP_LIMIT,
            LATE.model_dump_json(),
        )
        return rescued(Moved(*told[at : at + 4]) for at in range(0, len(told), 4))

    def backlog(self) -> Mapping[str, int]:
        with translated():
            models = sorted(self._redis.smembers(self._key("models")))
            return {m: int(self._redis.zcard(self._key("waiting", m))) for m in models}

    def spent(self, limit: int) -> Sequence[str]:
        with translated():
            now = int(self._redis.time()[0]) * 1000
            ids = self._redis.zrange(self._key("kept"), 0, now, byscore=True, offset=0, num=limit)
        return [str(job_id) for job_id in ids]

    def secret(self, proposal: str) -> str:
        """The shared secret of this Redis; the first caller's proposal becomes it."""
        with translated():
            self._redis.set(self._key("secret"), proposal, nx=True)
            return str(self._redis.get(self._key("secret")))


def _pushed(ticket: Mapping[str, str] | None) -> tuple[str, str]:
    return (ticket["queue"], ticket["message"]) if ticket else ("", "")


def _cursor(cursor: str | None) -> tuple[str, tuple[int, str] | None]:
    if cursor is None:
        return "+inf", None
    created, _, job_id = cursor.partition("-")
    return str(int(created)), (int(created), job_id)


def open_job_store(settings: Settings) -> RedisJobStore:
    """The store that the settings name; opens no connection yet."""
    rules = QueueRules(
        lease_s=settings.lease_s,
        max_attempts=settings.max_attempts,
        head_start_s=settings.head_start_s,
        max_waiting=settings.max_waiting,
        max_waiting_per_key=settings.max_waiting_per_key,
        retention_s=settings.retention_s,
    )
    return RedisJobStore(connect(settings.redis_url), rules)
