"""The child of a worker: it alone imports torch, keeps bases warm and runs attempts."""

import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from celery import signals

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import RedisLoraRegistry
from lorajobs.attempt import FOREVER, Bench
from lorajobs.bases import Bases
from lorajobs.canary import Canary
from lorajobs.catalog import Catalog, ModelEntry
from lorajobs.celery import make_app
from lorajobs.engine.base import Engine, LocalAdapter
from lorajobs.errors import ConfigError, LoraJobsError
from lorajobs.fetcher import Fetcher, Fleet
from lorajobs.finisher import Finisher
from lorajobs.idling import Unloader
from lorajobs.moderation import image_checker
from lorajobs.parent import Parent
from lorajobs.redis_client import connect
from lorajobs.redis_store import open_job_store
from lorajobs.report import CanaryReport
from lorajobs.settings import Settings
from lorajobs.spec import AdapterUse
from lorajobs.storage import open_store
from lorajobs.store import LeaseStore
from lorajobs.tasks.generate import GenerateTask, told_by

log = logging.getLogger(__name__)

MakeEngine = Callable[[ModelEntry, Settings], Engine]


def start(parent: Parent, make_engine: MakeEngine) -> None:
    """Loads the first base, or that of the child before, then says that the worker is ready."""
    # Ctrl-C in a terminal reaches the child too; the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The promise of the child that this one replaces is not its own; a base may load for long.
    parent.page.say_alive(FOREVER)
    parent.page.say_none_parked()
    try:
        store = open_job_store(parent.settings)
        bench = GenerateTask.bench = _open_bench(parent, store, make_engine)
        bench.bases.engine(parent.shown_base)
        models = [entry.id for entry in parent.entries]
        most, report = parent.settings.max_attempts, parent.page.reports.send
        fleet = Fleet(store, socket.gethostname())
        pause = parent.page.bell.wait
        Fetcher(store, bench.library, bench.bases, fleet, models, most, report, pause).start()
        _watch(bench, parent)
    except Exception as error:
        # Celery would log it, go on without a base and replace the child for ever.
        ours = error if isinstance(error, LoraJobsError) else None
        log.error("the base %s cannot be loaded", parent.shown_base, exc_info=ours is None)
        parent.page.say_failed(ours.detail if ours else f"{type(error).__name__}: {error}")
        return
    parent.page.say_alive(FOREVER)
    parent.page.say_ready()


def _watch(bench: Bench, parent: Parent) -> None:
    page = parent.page

    def tell(result: str) -> None:
        page.reports.send(CanaryReport(base=page.base(), result=result))

    def end() -> None:
        # The pool replaces a child that ends; until the new one is ready the worker is not.
        os._exit(1)

    Canary(bench.bases, bench.busy, parent.settings.canary_s, end, tell).start()
    Unloader(bench.bases, bench.busy, parent.settings.unload_idle_s, end).start()


def _open_bench(parent: Parent, store: LeaseStore, make_engine: MakeEngine) -> Bench:
    settings, page = parent.settings, parent.page
    catalog = Catalog.load(settings.config)
    objects = open_store(settings)
    registry = RedisLoraRegistry(connect(settings.redis_url))
    library = Library(settings, catalog, registry, objects)

    def open_engine(model: str) -> Engine:
        entry = catalog.require(model)
        return _loaded(make_engine(entry, settings), entry, library)

    def say_base(model: str, took_s: float, placement: str, parked: Sequence[str]) -> None:
        page.say_base(model, took_s, placement, parked)
        # Until a job ends that says what it left.
        page.say_loaded(())
        page.say_resident(bases.resident())

    bases = Bases(open_engine, say_base, settings.parked_mb << 20)
    finisher = Finisher(store, settings.finish_depth, settings.renew_s, settings.max_runtime_s)
    # Celery ends a child with os._exit, which waits for no thread.
    signals.worker_process_shutdown.connect(lambda **_: finisher.close(), weak=False)
    return Bench(
        settings=settings,
        store=store,
        library=library,
        bases=bases,
        objects=objects,
        page=page,
        finisher=finisher,
        tell=told_by(make_app(settings), parent.name),
        # Before the base, whose place on the GPU depends on the room there is.
        checker=image_checker(settings),
    )


def _loaded(engine: Engine, entry: ModelEntry, library: Library) -> Engine:
    """The engine with its base, and in memory the adapters that the base names."""
    engine.load()
    try:
        with ExitStack() as held:
            engine.preload(_preloaded(library, entry, held))
    except BaseException:
        engine.close()
        raise
    return engine


def _preloaded(library: Library, entry: ModelEntry, held: ExitStack) -> list[LocalAdapter]:
    """The adapters to pre-load that can be had; one that cannot must not keep the base down."""
    found = []
    for lora_id in entry.preload:
        try:
            record = library.find(lora_id)
            if record is None:
                raise ConfigError(f"models.{entry.id}.preload: no adapter {lora_id!r}")
            adapter = library.pin(record)
            use = AdapterUse(adapter=adapter, scale=record.scale)
            files = [held.enter_context(library.ensure(file)) for file in adapter.files]
            found.append(LocalAdapter(use, *(file.path for file in files)))
        except LoraJobsError as error:
            log.warning("%s is not pre-loaded: %s", lora_id, error.detail)
    return found
