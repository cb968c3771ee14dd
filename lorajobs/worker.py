"""A GPU worker: a parent without torch claims and renews, its child keeps a base warm."""

import functools
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from celery import Celery, bootsteps, signals
from celery.worker import state as celery_state
from celery.worker.control import control_command

from lorajobs.adapters.cache import DiskCache
from lorajobs.cancel import COMMAND
from lorajobs.catalog import Catalog, ModelEntry
from lorajobs.celery import make_app, take_over_log
from lorajobs.claim import TicketTask, held_leases
from lorajobs.drain import DRAIN, RESUME
from lorajobs.engine.base import Engine
from lorajobs.errors import StoreUnavailable
from lorajobs.holdings import Holder, Holding
from lorajobs.jobs import Lease
from lorajobs.moderation import require_image_checker
from lorajobs.parent import Parent
from lorajobs.redis_store import open_job_store
from lorajobs.renewal import LeaseRenewal
from lorajobs.rescue import rescue
from lorajobs.settings import Settings
from lorajobs.store import DRAINING, UNLOADED, WorkerState
from lorajobs.tickets import TicketQueue
from lorajobs.worker_child import MakeEngine, start
from lorajobs.worker_page import WorkerPage

if TYPE_CHECKING:
    from lorajobs.engine.garage import Garage

log = logging.getLogger(__name__)

#: Seconds between looks for a dead child.
REAP_S = 0.5


#: Makes an engine, which shares the garage with others if there is one.
MakeOne = Callable[[ModelEntry, Settings, "Garage | None"], Engine]


def _diffusers(entry: ModelEntry, settings: Settings, garage: "Garage | None") -> Engine:
    # Torch is imported here, in the child only.
    from lorajobs.engine.pipeline import DiffusersEngine

    return DiffusersEngine(entry, settings, garage)


def engines(settings: Settings, bases: int, make_one: MakeOne = _diffusers) -> MakeEngine:
    """Makes the engines of a worker that serves so many bases."""
    parks = settings.parked_mb and (bases > 1 or settings.unload_idle_s)

    @functools.cache
    def garage() -> "Garage":
        from lorajobs.engine.garage import Garage

        return Garage(settings)

    def make(entry: ModelEntry, settings: Settings) -> Engine:
        return make_one(entry, settings, garage() if parks else None)

    return make


def run_worker(
    settings: Settings, models: Sequence[str], make_engine: MakeEngine | None = None
) -> int:
    """Serves base models, one at a time, until it is told to stop; returns the exit code.

    Raises: ConfigError.
    """
    catalog = Catalog.load(settings.config)
    entries = [catalog.require(model) for model in dict.fromkeys(models)]
    require_image_checker(settings)
    name = _name(entries[0])
    take_over_log(settings, name)
    app = make_app(settings)
    parent = TicketTask.parent = _parent(settings, name, catalog, entries, app)
    parent.metrics.serve(settings, [entry.id for entry in entries], parent.page.reports)
    app.steps["consumer"].add(_Renewal)
    _follow_celery(parent, make_engine or engines(settings, len(entries)))
    worker = app.Worker(
        hostname=name,
        pool="prefork",
        concurrency=1,
        queues=[entry.queue for entry in entries],
        without_mingle=True,
        without_gossip=True,
        quiet=True,
    )
    worker.start()
    if _Renewal.renewal is not None:
        _Renewal.renewal.stop()
    with suppress(StoreUnavailable):
        parent.workers.remove_worker(name)
    return int(worker.exitcode or 0)


def _parent(
    settings: Settings, name: str, catalog: Catalog, entries: Sequence[ModelEntry], app: Celery
) -> Parent:
    store = open_job_store(settings)
    cache = DiskCache.of(settings)
    cache.sweep()
    return Parent(
        settings=settings,
        name=name,
        entries=entries,
        store=store,
        workers=store,
        rescuing=store,
        catalog=catalog,
        queue=TicketQueue(app, settings),
        page=WorkerPage(),
        is_here=cache.has,
        census=cache.census,
    )


def _follow_celery(parent: Parent, make_engine: MakeEngine) -> None:
    """Has each child that Celery starts load its base, and the present one hear of a shutdown."""

    def start_child(**_: object) -> None:
        start(parent, make_engine)

    def begin_shutdown(**_: object) -> None:
        # In a signal handler: no locks, no log.
        parent.page.ask_stop(parent.settings.shutdown_grace_s)

    signals.worker_process_init.connect(start_child, weak=False)
    signals.worker_shutting_down.connect(begin_shutdown, weak=False)


def _name(entry: ModelEntry) -> str:
    # A container that starts again has the same host and process id as the one that died.
    unique = secrets.token_hex(2)
    return f"{entry.queue.removeprefix('base.')}-{unique}-{os.getpid()}@{socket.gethostname()}"


class _Renewal(bootsteps.StartStopStep):
    """Starts the renewal of leases with the consumer; it outlives the consumer at a shutdown."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    renewal: ClassVar[LeaseRenewal | None] = None

    def __init__(self, consumer: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(consumer, **kwargs)
        self._reaping: Any = None

    def start(self, consumer: Any) -> None:  # noqa: ANN401
        """Starts the thread once; after a lost connection only the consumer starts anew."""
        # Celery hears of a child's death before it can be waited for, then looks every 5 s only.
        self._reaping = consumer.timer.call_repeatedly(REAP_S, consumer.pool.maintain_pool)
        parent = TicketTask.parent
        parent.metrics.connected()
        if _Renewal.renewal is not None:
            return

        def look() -> None:
            _look(parent, consumer.pool.info["processes"])

        _Renewal.renewal = LeaseRenewal(
            parent.store, held_leases, parent.page.ask_cancel, look, parent.settings.renew_s
        )
        _Renewal.renewal.start()

    def stop(self, consumer: Any) -> None:  # noqa: ANN401
        """Ends what belongs to this consumer; the renewal goes on while a last job runs."""
        if self._reaping is not None:
            self._reaping.cancel()


def _look(parent: Parent, children: Collection[int]) -> None:
    """One look after the child, the list of workers and other workers' lost jobs."""
    failure = parent.page.failure()
    if failure:
        log.critical("the base %s cannot be loaded: %s", parent.shown_base, failure)
        celery_state.should_stop = 1
        return
    leases = held_leases()
    warm = parent.page.is_ready(children)
    is_loaded = warm and bool(parent.base)
    if fault := _fault(parent, warm, busy=bool(leases)):
        # If it has a job, that goes back through the hook that any death of a child takes.
        log.error("the child is killed: %s", fault)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    census, ttl_s = parent.census(), 4 * parent.settings.renew_s
    state = WorkerState(
        name=parent.name,
        model=parent.shown_base,
        others=tuple(entry.id for entry in parent.entries if entry.id != parent.shown_base),
        state=_state(parent, warm, busy=bool(leases)),
        loaded=parent.page.loaded() if warm else (),
        job_id=leases[0].job_id if leases else None,
        cached=census.cached,
        cached_bytes=census.cached_bytes,
        placement=parent.page.placement() if warm else "",
        parked=tuple(parent.page.parked()) if warm else (),
        disk=census.disk,
    )
    resident = parent.page.resident() if is_loaded else frozenset()
    holdings = {
        Holder("memory", parent.name): Holding.of(resident),
        Holder("disk", census.disk): Holding.of(census.adapters),
    }
    parent.metrics.state(state.state, len(leases), children)
    if is_loaded:
        parent.metrics.holds(parent.base, resident, census)
    parent.workers.put_worker(state, ttl_s)
    parent.workers.put_held(holdings, ttl_s)
    parent.metrics.rescued(rescue(parent.rescuing, parent.queue, parent.catalog))


def _state(parent: Parent, warm: bool, busy: bool) -> str:
    """What the worker says it is, see `WorkerState.state`."""
    if parent.is_draining():
        return DRAINING
    if warm and parent.base:
        return "warm"
    return UNLOADED if warm and not busy else "loading"


def _fault(parent: Parent, warm: bool, busy: bool) -> str:
    """Why the child must not go on, empty if it may."""
    # One that still loads its base has taken no job yet.
    if warm and busy and parent.page.is_overdue():
        return "it hangs"
    if parent.page.is_stopping() and not warm:
        return "it loads its base, but the worker shuts down"
    if parent.page.must_stop(late_s=parent.settings.step_timeout_s):
        return "it did not stop when the worker shut down"
    return ""


@control_command(name=COMMAND, args=[("job_id", str), ("attempt", int)])
def cancel_job(state: object, job_id: str, attempt: int) -> dict[str, str]:
    """Passes a cancellation to the child that runs this attempt."""
    TicketTask.parent.page.ask_cancel(Lease(job_id, attempt))
    return {"ok": "asked"}


@control_command(name=DRAIN)
def drain_worker(state: Any) -> dict[str, str]:  # noqa: ANN401
    """Takes no more tickets; one that is held goes back when it is looked at next."""
    parent, consumer = TicketTask.parent, state.consumer
    parent.draining.set()
    for entry in parent.entries:
        consumer.call_soon(consumer.cancel_task_queue, entry.queue)
    return {"ok": "drained"}


@control_command(name=RESUME)
def resume_worker(state: Any) -> dict[str, str]:  # noqa: ANN401
    """Takes tickets again."""
    parent, consumer = TicketTask.parent, state.consumer
    parent.draining.clear()
    for entry in parent.entries:
        consumer.call_soon(consumer.add_task_queue, entry.queue)
    return {"ok": "resumed"}
