"""What was used: jobs that a worker ended, their pictures and the GPU's time."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple, Protocol

from lorajobs.jobs import Outcome

UsageBy = Literal["key", "adapter", "model"]

#: Days for which what was used is known day by day; what was used in all is kept for ever.
KEPT_DAYS = 400
_EPOCH = date(1970, 1, 1)


class Usage(NamedTuple):
    """The use of one API key, adapter or base model."""

    #: the key's id (empty: without a key), the adapter's id or the base's
    name: str
    jobs: int
    pictures: int
    gpu_s: float


class Period(NamedTuple):
    """Days in UTC, the first and the last one included."""

    since: date
    until: date

    @property
    def days(self) -> range:
        """Each day as a number counted from 1970."""
        return range((self.since - _EPOCH).days, (self.until - _EPOCH).days + 1)


def day_of(unix_ms: int) -> date:
    """The day in UTC of a moment."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).date()


def first_day_kept(today: date) -> date:
    """The earliest day of which all that was used is still known."""
    return today - timedelta(days=KEPT_DAYS - 1)


class UsageKeeper(Protocol):
    """Who adds up."""

    def usage(
        self, by: UsageBy, owner: str | None, period: Period | None = None
    ) -> Sequence[Usage]:
        """The use by one key, or by all for None; by name. Without a period all there ever was.

        A job counts once for each of its adapters, and not at all for a worker that was lost.
        Raises: StoreUnavailable.
        """


def gpu_s(outcome: Outcome) -> float:
    """Seconds for which an attempt had the GPU: to load a base, to change adapters, to generate,
    to check.
    """
    took = outcome.metrics
    return sum(part or 0.0 for part in (took.base_s, took.swap_s, took.generate_s, took.check_s))
