"""What an operator sees of every base: its queue, what waits in it, and who works on it."""

from collections.abc import Collection, Mapping, Sequence

from lorajobs.adapters.registry import LoraRegistry
from lorajobs.catalog import Catalog
from lorajobs.document import without_secrets
from lorajobs.errors import JobNotFound
from lorajobs.holdings import Holder, short
from lorajobs.jobs import Job
from lorajobs.redis_store import RedisJobStore
from lorajobs.snapshot import Snapshot, WaitingGroup, WaitingJob
from lorajobs.spec import Frozen
from lorajobs.store import WorkerState
from lorajobs.tally import NO_JOBS, TallyKeeper
from lorajobs.tickets import TicketQueue

#: The groups that are shown of each base.
LARGEST = 5
#: The adapters that are named of each worker's memory and disk.
NAMED = 50
_SHORT = 12


class AdapterView(Frozen):
    """An adapter by its id, or by the start of its SHA-256 if no job tells the id any more."""

    id: str
    scale: float


class GroupView(Frozen):
    """Waiting jobs that need the same adapters; none for the base alone."""

    loras: tuple[AdapterView, ...]
    waiting: int
    #: seconds since the submit of the job at its head
    oldest_s: float


class WorkerView(Frozen):
    """A live worker."""

    name: str
    state: str
    loaded: tuple[AdapterView, ...]
    job_id: str | None
    #: adapters on its machine's disk, and their bytes
    cached: int
    cached_bytes: int
    #: adapters in its host memory
    in_memory: int
    #: of both the first by name, those without a name last, by the start of their hash
    memory: tuple[str, ...]
    disk: tuple[str, ...]


class QueueView(Frozen):
    """One base; `waiting` counts no jobs that are held back until their next attempt."""

    model: str
    waiting: int
    #: seconds since the submit of the job at the head, None if nothing waits
    oldest_s: float | None
    running: int
    #: jobs a minute, over the last five
    submitted_per_min: float
    ended_per_min: float
    #: messages on the broker, None for a base that is configured no more
    tickets: int | None
    #: True if jobs wait and no live worker takes them
    no_worker: bool
    #: the largest of the groups that a worker sees, largest first
    groups: tuple[GroupView, ...]
    workers: tuple[WorkerView, ...]


class Overview(Frozen):
    """All bases: those configured, and those that jobs still wait for."""

    queues: tuple[QueueView, ...]


def overview(
    store: RedisJobStore,
    keeper: TallyKeeper,
    tickets: TicketQueue,
    catalog: Catalog,
    registry: LoraRegistry,
) -> Overview:
    """Looks at all queues; not one moment of all, since each base is read by itself.

    Raises: StoreUnavailable.
    """
    bases, workers = keeper.tally().bases, store.workers()
    views = _views(store, registry, workers)
    models = dict.fromkeys([*catalog.models, *(m for m, count in bases.items() if count.waiting)])
    queues = []
    for model in models:
        own = [worker for worker in workers if worker.serves(model)]
        entry = catalog.models.get(model)
        count = bases.get(model, NO_JOBS)
        snapshot = store.snapshot(model)
        groups = _groups(snapshot)
        largest = sorted(groups, key=lambda group: -group.waiting)[:LARGEST]
        queues.append(
            QueueView(
                model=model,
                **count._asdict(),
                tickets=tickets.depth(entry.queue) if entry else None,
                no_worker=bool(count.waiting) and not any(worker.takes_jobs for worker in own),
                groups=tuple(_group(store, group, snapshot.now_us) for group in largest),
                workers=tuple(views[worker.name] for worker in own),
            )
        )
    return Overview(queues=tuple(queues))


def _groups(snapshot: Snapshot) -> Sequence[WaitingGroup]:
    """Each group once, with the oldest job that any key has in it."""
    found: dict[str, WaitingGroup] = {}
    for group in (group for turn in snapshot.turns for group in turn.groups):
        other = found.setdefault(group.oldest.group, group)
        if group.oldest.score_us < other.oldest.score_us:
            found[group.oldest.group] = group
    return list(found.values())


def _job(store: RedisJobStore, waiting: WaitingJob) -> Job | None:
    try:
        return store.get(waiting.id)
    except JobNotFound:
        return None


def _age_s(waiting: WaitingJob, job: Job | None, now_us: int) -> float:
    # The score is the submit less a head start, so it is only the second best answer.
    since_us = job.created_ms * 1000 if job else waiting.score_us
    return round(max(0, now_us - since_us) / 1_000_000, 1)


def _group(store: RedisJobStore, group: WaitingGroup, now_us: int) -> GroupView:
    job = _job(store, group.oldest)
    return GroupView(
        loras=tuple(_of_job(job) if job else _of_name(group.oldest.group)),
        waiting=group.waiting,
        oldest_s=_age_s(group.oldest, job, now_us),
    )


def _of_job(job: Job) -> Sequence[AdapterView]:
    return [
        AdapterView(id=without_secrets(use.adapter.id), scale=use.scale) for use in job.spec.loras
    ]


def _of_name(group: str) -> Sequence[AdapterView]:
    uses = [use.split("@") for use in group.split(",") if use]
    return [AdapterView(id=sha256[:_SHORT], scale=float(scale)) for sha256, scale in uses]


def _views(
    store: RedisJobStore, registry: LoraRegistry, workers: Sequence[WorkerState]
) -> Mapping[str, WorkerView]:
    """Each worker's, by its name."""
    memories = [Holder("memory", worker.name) for worker in workers]
    disks = dict.fromkeys(Holder("disk", worker.disk) for worker in workers)
    held, known = store.held([*memories, *disks]), _known(registry) if workers else {}
    named = {holder: _named(adapters, known) for holder, adapters in held.items()}
    return {
        worker.name: _worker(
            worker, len(held[memory]), named[memory], named[Holder("disk", worker.disk)]
        )
        for worker, memory in zip(workers, memories, strict=True)
    }


def _known(registry: LoraRegistry) -> Mapping[str, str]:
    """What the registered adapters are called, by what a holder tells of them."""
    pinned = [(record.name, record.adapter) for record in registry.all() if record.adapter]
    # In memory one with a PEFT configuration has another name than its file.
    files = {short(adapter.sha256): name for name, adapter in pinned}
    return files | {short(adapter.content): name for name, adapter in pinned}


def _named(adapters: Collection[str], known: Mapping[str, str]) -> tuple[str, ...]:
    names = sorted(known[adapter] for adapter in adapters if adapter in known)
    others = sorted(adapter[:_SHORT] for adapter in adapters if adapter not in known)
    return tuple([*names, *others][:NAMED])


def _worker(
    worker: WorkerState, in_memory: int, memory: tuple[str, ...], disk: tuple[str, ...]
) -> WorkerView:
    loaded = [AdapterView(id=without_secrets(use.id), scale=use.scale) for use in worker.loaded]
    return WorkerView(
        name=worker.name,
        state=worker.state,
        loaded=tuple(loaded),
        job_id=worker.job_id,
        cached=worker.cached,
        cached_bytes=worker.cached_bytes,
        in_memory=in_memory,
        memory=memory,
        disk=disk,
    )
