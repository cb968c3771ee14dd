"""What the API needs of the rest of the system, made once per process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from flask import current_app, request

from lorajobs.adapters.awaited import AwaitedUploads
from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import RedisLoraRegistry
from lorajobs.api_keys import KeyRing
from lorajobs.cancel import CancelPush
from lorajobs.catalog import Catalog
from lorajobs.drain import DrainCall
from lorajobs.events import EventLog, Pace
from lorajobs.holdings import Holdings
from lorajobs.images import Images
from lorajobs.jobs import Job
from lorajobs.listeners import Listeners
from lorajobs.lookout import Lookout, open_lookout
from lorajobs.moderation import PromptGate
from lorajobs.reach import Reach
from lorajobs.redis_awaited import open_awaited
from lorajobs.redis_client import connect
from lorajobs.redis_events import open_events
from lorajobs.redis_images import open_image_records
from lorajobs.redis_keys import open_api_keys
from lorajobs.redis_listeners import open_listeners
from lorajobs.redis_secrets import open_webhook_secrets
from lorajobs.redis_store import open_job_store
from lorajobs.redis_tally import open_tally
from lorajobs.redis_usage import open_usage
from lorajobs.roster import Roster
from lorajobs.settings import Settings
from lorajobs.storage import open_store
from lorajobs.storage.base import ObjectStore
from lorajobs.store import JobStore, WorkerState
from lorajobs.submit import Tickets
from lorajobs.tally import TallyKeeper
from lorajobs.tickets import TicketQueue
from lorajobs.usage import UsageKeeper
from lorajobs.webhook_secrets import WebhookSecrets
from web.seats import Seats

EXTENSION = "lorajobs"


class Fleet(Holdings, Protocol):
    """Who works, what they have, and how much waits."""

    def backlog(self) -> Mapping[str, int]:
        """Waiting jobs per base model."""

    def workers(self) -> Sequence[WorkerState]:
        """The live workers, by name."""


class Broker(Tickets, Protocol):
    """Where tickets go, and how many are there."""

    def depth(self, queue: str) -> int:
        """How many tickets wait.

        Raises: StoreUnavailable.
        """


@dataclass(frozen=True, kw_only=True)
class Deps:
    """The other parts of the system, as the API sees them."""

    settings: Settings
    catalog: Catalog
    library: Library
    uploads: AwaitedUploads
    store: JobStore
    events: EventLog
    seats: Seats
    #: those of all processes
    listeners: Listeners
    fleet: Fleet
    roster: Roster
    tally: TallyKeeper
    ring: KeyRing
    secrets: WebhookSecrets
    usage: UsageKeeper
    queue: Broker
    objects: ObjectStore
    images: Images
    #: sees what operators see
    lookout: Lookout
    #: tells a worker DRAIN or RESUME; False if it does not answer, raises StoreUnavailable
    tell_worker: Callable[[str, str], bool]
    #: tells the worker of a running job to stop it now; raises StoreUnavailable
    push_cancel: Callable[[Job], None]
    #: raises UrlNotAllowed for a webhook that must not be called
    check_webhook: Callable[[str], object]
    prompts: PromptGate = field(default_factory=PromptGate)

    @property
    def pace(self) -> Pace:
        """Of requests that wait."""
        return Pace(self.settings.heartbeat_s, self.seats.beat)

    @classmethod
    def open(cls, settings: Settings) -> "Deps":
        """The parts that the settings name; no connection is opened yet.

        Raises: ConfigError.
        """
        # That module also makes an app of the environment, which must be no condition of ours.
        from lorajobs.celery import make_app

        catalog = Catalog.load(settings.config)
        app = make_app(settings)
        queue = TicketQueue(app, settings)
        store = open_job_store(settings)
        objects = open_store(settings)
        registry = RedisLoraRegistry(connect(settings.redis_url))
        listeners = open_listeners(settings)
        library = Library(settings, catalog, registry, objects)
        return cls(
            settings=settings,
            catalog=catalog,
            library=library,
            uploads=AwaitedUploads(settings, library, open_awaited(settings), objects),
            store=store,
            events=open_events(settings),
            seats=Seats(settings.api_listeners, listeners),
            listeners=listeners,
            fleet=store,
            roster=Roster(store.workers),
            tally=open_tally(settings),
            ring=KeyRing(open_api_keys(settings)),
            secrets=open_webhook_secrets(settings),
            usage=open_usage(settings),
            queue=queue,
            objects=objects,
            images=Images(settings, open_image_records(settings), objects),
            lookout=open_lookout(settings, catalog, queue),
            tell_worker=DrainCall(app),
            push_cancel=CancelPush(app),
            check_webhook=Reach.of_webhooks(settings).vet,
            prompts=PromptGate.of(settings),
        )


def deps() -> Deps:
    """The parts of the application that handles the current request."""
    return cast(Deps, current_app.extensions[EXTENSION])


def public_url() -> str:
    """The API's URL without a slash at its end, as the client of the current request sees it."""
    return (deps().settings.public_url or request.host_url).rstrip("/")
