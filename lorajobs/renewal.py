"""Keeps a worker's leases and its entry in the list of workers alive, from a thread of its parent.

A thread, because Celery's event loop stops at a warm shutdown while the last job still runs.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence

from lorajobs.errors import StoreUnavailable
from lorajobs.jobs import Lease
from lorajobs.store import LeaseStore, Signal

log = logging.getLogger(__name__)


class LeaseRenewal:
    """Calls `look()` and renews whatever leases `leases()` names, every `period_s` seconds."""

    def __init__(
        self,
        store: LeaseStore,
        leases: Callable[[], Sequence[Lease]],
        ask_cancel: Callable[[Lease], None],
        look: Callable[[], None],
        period_s: float,
    ) -> None:
        self._store = store
        self._leases = leases
        self._ask_cancel = ask_cancel
        self._look = look
        self._period_s = period_s
        self._stopped = threading.Event()
        self._busy = threading.Lock()
        # A child forked in the middle of a round would inherit the client's locked pool.
        os.register_at_fork(
            before=self._busy.acquire,
            after_in_parent=self._busy.release,
            after_in_child=self._busy.release,
        )
        self._thread = threading.Thread(target=self._run, name="lease-renewal", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after its current round."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            with self._busy:
                self._round()
            self._stopped.wait(self._period_s)

    def _round(self) -> None:
        try:
            # First what cannot wait: a look that fails must not cost a lease.
            for lease in self._leases():
                if self._store.renew(lease) is Signal.CANCEL:
                    self._ask_cancel(lease)
            self._look()
        except StoreUnavailable as error:
            log.warning("leases not renewed: %s", error)
        except Exception:
            # A thread that ended would let every lease of this worker run out, unseen.
            log.exception("leases not renewed")
