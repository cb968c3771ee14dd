"""Jobs of dead workers go back to their queues; every courier and every worker sees to it."""

from typing import Protocol

from lorajobs.catalog import Catalog
from lorajobs.store import Rescued, Rescuing


class MintingQueue(Protocol):
    """Where tickets are sent to."""

    def publish(self, queue: str, count: int = 1) -> None:
        """Sends tickets.

        Raises: StoreUnavailable.
        """


def rescue(store: Rescuing, queue: MintingQueue, catalog: Catalog) -> Rescued:
    """Puts back what expired leases and past delays hold, and sends a ticket for each.

    Each job is put back by one caller only, so that many may call at once.
    Raises: StoreUnavailable.
    """
    rescued = store.rescue()
    for model, count in rescued.waiting_again.items():
        entry = catalog.models.get(model)
        if entry is not None:
            queue.publish(entry.queue, count)
    return rescued
