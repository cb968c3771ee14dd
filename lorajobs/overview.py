"""What an operator sees of everything, on the command line and on the page `/ops`.

Lists are cut; beside each stands how many there are, unless it says that it is of the latest only.
"""

from collections.abc import Mapping

from lorajobs.spec import Frozen
from lorajobs.timeline import Kind
from lorajobs.why import Why


class AdapterView(Frozen):
    """An adapter by its id, or by the start of its SHA-256 if no job tells the id any more."""

    id: str
    scale: float


class WantedView(AdapterView):
    """An adapter that a waiting job needs."""

    #: the nearest place where it is, see `whereabouts.Tier`; None if no worker takes such jobs
    tier: str | None


class GroupView(Frozen):
    """Waiting jobs that need the same adapters; none for the base alone."""

    loras: tuple[AdapterView, ...]
    waiting: int
    #: seconds since the submit of the job at its head
    oldest_s: float


class WaitingView(Frozen):
    """A job that waits, and why."""

    id: str
    #: the id of an API key, empty without one
    owner: str
    priority: str
    loras: tuple[WantedView, ...]
    waited_s: float
    #: see `Place`
    position: int
    ahead_max: int
    #: seconds until it starts, None if nobody knows
    eta_s: float | None
    why: Why


class WorkerView(Frozen):
    """A live worker."""

    name: str
    state: str
    #: the base that it has loaded, or loads next, and where its pristine weights lie
    base: str
    placement: str
    #: bases that it loads instead when that pays, and those it has at hand for that
    others: tuple[str, ...]
    parked: tuple[str, ...]
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
    #: the first that wait, by their position
    jobs: tuple[WaitingView, ...]
    workers: tuple[WorkerView, ...]


class PartView(Frozen):
    """A part of an attempt, which begins where the one before ends."""

    kind: Kind
    #: None while it lasts
    ms: int | None


class RunView(Frozen):
    """An attempt on a worker's strip."""

    job_id: str
    #: empty if its beginning is forgotten
    model: str
    loras: tuple[AdapterView, ...]
    #: Unix milliseconds of the store
    since_ms: int
    parts: tuple[PartView, ...]
    #: the job's status after it: `queued` if it was put back; None while it lasts
    ended: str | None


class StateView(Frozen):
    """What a worker was since then."""

    #: as `WorkerState.state`, or `left`
    state: str
    model: str
    since_ms: int


class TimelineView(Frozen):
    """What one worker did; times are Unix milliseconds of the store."""

    worker: str
    #: False if it left or died
    alive: bool
    states: tuple[StateView, ...]
    runs: tuple[RunView, ...]


class DelayedView(Frozen):
    """A job that is held back until its next attempt."""

    id: str
    model: str
    owner: str
    #: those it had
    attempts: int
    #: seconds until it waits again
    ready_s: float


class FailureView(Frozen):
    """A job that failed lately."""

    id: str
    model: str
    owner: str
    loras: tuple[AdapterView, ...]
    attempts: int
    #: the last that ran it
    worker: str | None
    code: str
    detail: str
    retryable: bool
    completed_at: str | None


class DeliveryView(Frozen):
    """A webhook that was given up, or that is tried again."""

    id: str
    job_id: str
    event: str
    url: str
    tries: int
    #: what came of the last try, and when that was
    result: str
    tried_at: str | None
    next_try_at: str | None


class WebhooksView(Frozen):
    """All webhooks that are not settled, and the latest that were given up."""

    unsettled: int
    due: int
    overdue: int
    retried: tuple[DeliveryView, ...]
    undelivered: tuple[DeliveryView, ...]


class Overview(Frozen):
    """All bases: those configured, and those that jobs still wait for."""

    #: by the store's clock
    now_ms: int
    queues: tuple[QueueView, ...]
    #: of the workers that did something last, also of dead ones
    timelines: tuple[TimelineView, ...]
    #: live workers of all bases
    workers: int
    #: jobs held back until their next attempt, and the first of them
    delayed: int
    delayed_jobs: tuple[DelayedView, ...]
    #: the latest
    failures: tuple[FailureView, ...]
    webhooks: WebhooksView
    #: the names of API keys by their ids
    keys: Mapping[str, str]
