"""What only an operator asks of the store: what workers did lately, who waits, what failed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from lorajobs.jobs import Job
from lorajobs.outbox import DeliveryRecord
from lorajobs.place import Place
from lorajobs.timeline import Mark

#: The store remembers so many failed jobs, and as many webhooks that were given up.
LATEST = 100


class Placed(NamedTuple):
    """A waiting job and where it stands."""

    job: Job
    place: Place


class Lately(NamedTuple):
    """What happened; of everything the latest first, but for marks."""

    now_ms: int
    #: by worker, dead ones included, oldest mark first
    marks: Mapping[str, Sequence[Mark]]
    failed: Sequence[Job]
    #: jobs that wait for their next attempt and since when they may run, the first to come first
    delayed: Sequence[tuple[Job, int]]
    #: webhooks that were given up
    undelivered: Sequence[DeliveryRecord]
    #: those that are tried again, the first to come first
    retried: Sequence[DeliveryRecord]


class Watch(Protocol):
    """The operator's side of a store; what is asked for is looked at only so far."""

    def lately(self, workers: int, most: int) -> Lately:
        """Of the workers that did something last, and at most so many of everything else.

        Raises: StoreUnavailable.
        """

    def queued(self, model: str) -> Sequence[str]:
        """A base's jobs that wait, and those held back until their next attempt.

        Raises: StoreUnavailable.
        """

    def line(self, model: str, window_us: int, most: int) -> Sequence[Placed]:
        """The first jobs that wait for a base, if the policy's window is this long.

        Raises: StoreUnavailable.
        """
