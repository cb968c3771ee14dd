"""How many jobs wait and run, counted in one look, at a cost that no backlog raises."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

#: Minutes over which rates are counted, the present one included.
RATE_MINUTES = 5
#: Seconds for which a webhook is due before it counts as overdue: couriers hand it out within one.
OVERDUE_S = 30.0


class BaseCount(NamedTuple):
    """The jobs of one base model."""

    waiting: int
    #: seconds since the submit of the job at the head of the queue, None if nothing waits
    oldest_s: float | None
    running: int
    #: jobs a minute, over the last minutes
    submitted_per_min: float
    ended_per_min: float


NO_JOBS = BaseCount(0, None, 0, 0.0, 0.0)


class Totals(NamedTuple):
    """What there was of one base model since the store began; it stays when jobs are erased."""

    #: jobs by how they ended: the status, and the code of their error or nothing
    ended: Mapping[tuple[str, str], int] = {}
    pictures: int = 0
    gpu_s: float = 0.0
    #: leases that ran out: their worker died, or could not be heard
    lost: int = 0


NO_TOTALS = Totals()


class Tally(NamedTuple):
    """All jobs that have not ended, and all webhooks that are not settled."""

    #: by base model, those included to which a job was ever submitted
    bases: Mapping[str, BaseCount]
    #: jobs held back until their next attempt
    delayed: int
    unsettled: int
    #: of these, those that neither wait for their next try nor are in a courier's hands
    due: int
    #: of these, those that are due for at least `OVERDUE_S`
    overdue: int
    #: by base model, as `bases`
    totals: Mapping[str, Totals] = {}


class TallyKeeper(Protocol):
    """Who counts."""

    def tally(self) -> Tally:
        """Counts.

        Raises: StoreUnavailable.
        """
