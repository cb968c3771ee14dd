"""Where an operator looks from: one look at the queues, the workers and what went wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from lorajobs.adapter_names import AdapterNames, of_uses
from lorajobs.adapters.registry import LoraRegistry, RedisLoraRegistry
from lorajobs.api_keys import KeyStore
from lorajobs.catalog import Catalog
from lorajobs.document import without_secrets
from lorajobs.errors import JobNotFound
from lorajobs.history_view import delayed_views, failure_view, timeline_views, webhooks_view
from lorajobs.holdings import Holder, Holdings
from lorajobs.jobs import Job
from lorajobs.overview import (
    AdapterView,
    GroupView,
    Overview,
    QueueView,
    WaitingView,
    WantedView,
    WorkerView,
)
from lorajobs.place import Crew
from lorajobs.redis_client import connect
from lorajobs.redis_keys import open_api_keys
from lorajobs.redis_store import open_job_store
from lorajobs.redis_tally import open_tally
from lorajobs.redis_watch import open_watch
from lorajobs.remembered import Remembered
from lorajobs.roster import crew_of
from lorajobs.settings import Settings
from lorajobs.snapshot import SNAPSHOT_LIMIT, Snapshot, WaitingGroup
from lorajobs.store import WorkerState
from lorajobs.tally import NO_JOBS, BaseCount, TallyKeeper
from lorajobs.watch import Placed, Watch
from lorajobs.whereabouts import Whereabouts
from lorajobs.why import why

#: The groups that are shown of each base.
LARGEST = 5
#: The waiting jobs that are shown of each base; and of all others the latest or the next ones.
SHOWN = 20
#: The workers whose strips are shown.
STRIPS = 32


class Depths(Protocol):
    """Whom the broker tells."""

    def depth(self, queue: str) -> int:
        """How many tickets wait.

        Raises: StoreUnavailable.
        """


class Watched(Holdings, Protocol):
    """What is asked of the store itself."""

    def get(self, job_id: str) -> Job:
        """Raises: JobNotFound."""

    def workers(self) -> Sequence[WorkerState]:
        """The live workers, by name."""

    def snapshot(
        self, model: str, worker: str = "", loaded: str = "", limit: int = SNAPSHOT_LIMIT
    ) -> Snapshot:
        """Shows the queue of one base."""


@dataclass(frozen=True, kw_only=True)
class Lookout:
    """Sees everything; not one moment of all, since each base is read by itself."""

    store: Watched
    watch: Watch
    tally: TallyKeeper
    tickets: Depths
    catalog: Catalog
    registry: LoraRegistry
    keys: KeyStore
    #: seconds for which the adapters' names are remembered, whose list may be long
    kept_s: float = 10.0

    @cached_property
    def _names(self) -> Remembered[AdapterNames]:
        return Remembered(lambda: AdapterNames(self.registry), self.kept_s)

    def look(self) -> Overview:
        """Looks at all of it.

        Raises: StoreUnavailable.
        """
        tally, workers = self.tally.tally(), self.store.workers()
        names, seen = self._names(), self.watch.lately(STRIPS, SHOWN)
        bases, alive = tally.bases, {worker.name for worker in workers}
        waiting = (model for model, count in bases.items() if count.waiting)
        views = self._workers(workers, names)
        return Overview(
            now_ms=seen.now_ms,
            queues=tuple(
                self._queue(model, bases.get(model, NO_JOBS), workers, views, names)
                for model in dict.fromkeys([*self.catalog.models, *waiting])
            ),
            timelines=timeline_views(seen, alive, names),
            workers=len(workers),
            delayed=tally.delayed,
            delayed_jobs=delayed_views(seen),
            failures=tuple(map(failure_view, seen.failed)),
            webhooks=webhooks_view(seen, tally),
            keys={key.id: key.name for key in self.keys.all()},
        )

    def _queue(
        self,
        model: str,
        count: BaseCount,
        workers: Sequence[WorkerState],
        views: Mapping[str, WorkerView],
        names: AdapterNames,
    ) -> QueueView:
        own = [worker for worker in workers if worker.serves(model)]
        entry = self.catalog.models.get(model)
        # What waits for nothing needs no more looks.
        snapshot = self.store.snapshot(model) if count.waiting else Snapshot(0, ())
        largest = sorted(_groups(snapshot), key=lambda group: -group.waiting)[:LARGEST]
        window_us = entry.window_us if entry else 0
        line = self.watch.line(model, window_us, SHOWN) if count.waiting else ()
        return QueueView(
            model=model,
            **count._asdict(),
            tickets=self.tickets.depth(entry.queue) if entry else None,
            no_worker=bool(count.waiting) and not any(worker.takes_jobs for worker in own),
            groups=tuple(self._group(group, snapshot.now_us, names) for group in largest),
            jobs=self._line(line, model, own, snapshot.now_us),
            workers=tuple(views[worker.name] for worker in own),
        )

    def _group(self, group: WaitingGroup, now_us: int, names: AdapterNames) -> GroupView:
        try:
            job = self.store.get(group.oldest.id)
        except JobNotFound:
            job = None
        # The score is the submit less a head start, so it is only the second best answer.
        since_us = job.created_ms * 1000 if job else group.oldest.score_us
        return GroupView(
            loras=of_uses(job.spec.loras) if job else names.of_group(group.oldest.group),
            waiting=group.waiting,
            oldest_s=_seconds(now_us - since_us),
        )

    def _line(
        self, line: Sequence[Placed], model: str, own: Sequence[WorkerState], now_us: int
    ) -> tuple[WaitingView, ...]:
        adapters = {use.adapter.key: use.adapter for one in line for use in one.job.spec.loras}
        where = Whereabouts(own, self.store, model, list(adapters.values()))
        crew = crew_of(own, model)
        return tuple(_waiting(one, own, crew, where, now_us) for one in line)

    def _workers(
        self, workers: Sequence[WorkerState], names: AdapterNames
    ) -> Mapping[str, WorkerView]:
        """Each worker's, by its name."""
        memories = {worker.name: Holder("memory", worker.name) for worker in workers}
        disks = {worker.name: Holder("disk", worker.disk) for worker in workers}
        held = self.store.held([*memories.values(), *dict.fromkeys(disks.values())])
        named = {holder: names.of_holder(adapters) for holder, adapters in held.items()}
        views = {}
        for worker in workers:
            memory, disk = memories[worker.name], disks[worker.name]
            views[worker.name] = _worker(worker, len(held[memory]), named[memory], named[disk])
        return views


def _groups(snapshot: Snapshot) -> Sequence[WaitingGroup]:
    """Each group once, with the oldest job that any key has in it."""
    found: dict[str, WaitingGroup] = {}
    for group in (group for turn in snapshot.turns for group in turn.groups):
        other = found.setdefault(group.oldest.group, group)
        if group.oldest.score_us < other.oldest.score_us:
            found[group.oldest.group] = group
    return list(found.values())


def _waiting(
    one: Placed, own: Sequence[WorkerState], crew: Crew, where: Whereabouts, now_us: int
) -> WaitingView:
    job, place = one
    tiers = [where.tier(use.adapter) for use in job.spec.loras]
    loras = zip(of_uses(job.spec.loras), tiers, strict=True)
    return WaitingView(
        id=job.id,
        owner=job.spec.owner,
        priority=job.spec.priority,
        loras=tuple(WantedView(**dict(lora), tier=tier) for lora, tier in loras),
        waited_s=_seconds(now_us - job.created_ms * 1000),
        position=place.position,
        ahead_max=place.ahead_max,
        eta_s=place.starts_in_s(crew),
        why=why(job.spec.model, place, own, tiers),
    )


def _worker(
    worker: WorkerState, in_memory: int, memory: tuple[str, ...], disk: tuple[str, ...]
) -> WorkerView:
    loaded = [AdapterView(id=without_secrets(use.id), scale=use.scale) for use in worker.loaded]
    return WorkerView(
        name=worker.name,
        state=worker.state,
        base=worker.model,
        placement=worker.placement,
        others=worker.others,
        parked=worker.parked,
        loaded=tuple(loaded),
        job_id=worker.job_id,
        cached=worker.cached,
        cached_bytes=worker.cached_bytes,
        in_memory=in_memory,
        memory=memory,
        disk=disk,
    )


def _seconds(micros: int) -> float:
    return round(max(0, micros) / 1_000_000, 1)


def open_lookout(settings: Settings, catalog: Catalog, tickets: Depths) -> Lookout:
    """The one over the store that the settings name; opens no connection yet."""
    return Lookout(
        store=open_job_store(settings),
        watch=open_watch(settings),
        tally=open_tally(settings),
        tickets=tickets,
        catalog=catalog,
        registry=RedisLoraRegistry(connect(settings.redis_url)),
        keys=open_api_keys(settings),
    )
