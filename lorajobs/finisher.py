"""Ends attempts beside the next job: waits for the pictures, encodes, uploads, tells the store.

So a GPU does not wait for a PNG (a tenth of a second at 1024 px) or for the network.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lorajobs.engine.base import DeviceFault
from lorajobs.errors import StoreUnavailable
from lorajobs.jobs import Lease
from lorajobs.store import LeaseStore, Signal

log = logging.getLogger(__name__)


class Finisher:
    """A few threads of a worker's child, and one that keeps their leases alive.

    The parent renews only the lease of the job that generates. All die with the child, and then
    these jobs are rescued like any other.
    """

    def __init__(
        self,
        store: LeaseStore,
        depth: int,
        renew_s: float,
        patience_s: float,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """`depth` attempts end at a time, each within `patience_s` or its lease runs out.

        `end` ends this process at once, with an exit code.
        """
        self._end = end
        self._store = store
        self._renew_s = renew_s
        self._patience_s = patience_s
        self._pool = ThreadPoolExecutor(depth, "finisher")
        self._free = threading.Semaphore(depth)
        self._until: dict[Lease, float] = {}
        self._closed = threading.Event()
        self._renewal = threading.Thread(target=self._renew, name="finisher-renewal", daemon=True)
        self._renewal.start()

    def take(self, lease: Lease, work: Callable[[], None]) -> None:
        """Does the work in a thread, and renews the lease until it is done.

        Waits while as many as there may be end already.
        """
        self._free.acquire()
        self._until[lease] = time.monotonic() + self._patience_s
        self._pool.submit(self._finish, lease, work)

    def has(self, lease: Lease) -> bool:
        """True while this attempt ends here."""
        return lease in self._until

    def close(self) -> None:
        """Waits until all is done; takes nothing more."""
        self._pool.shutdown()
        self._closed.set()
        self._renewal.join()

    def end_process(self, fault: DeviceFault) -> None:
        """Ends this process, of which the device failed, once what is made is stored."""
        log.critical("the device failed, so the child ends: %s", fault)
        self.close()
        self._end(1)

    def _finish(self, lease: Lease, work: Callable[[], None]) -> None:
        try:
            work()
        except DeviceFault as fault:
            # Not in this thread, for which it waits.
            threading.Thread(target=self.end_process, args=(fault,), name="end-process").start()
        except Exception:
            # Without its lease the job is rescued.
            log.exception("job %s: attempt %d was not ended", *lease)
        finally:
            del self._until[lease]
            self._free.release()

    def _renew(self) -> None:
        while not self._closed.wait(self._renew_s):
            now = time.monotonic()
            for lease, until in tuple(self._until.items()):
                if now < until:
                    self._renew_one(lease)

    def _renew_one(self, lease: Lease) -> None:
        try:
            if self._store.renew(lease) is Signal.LOST:
                log.warning("job %s: attempt %d lost its lease while it ended", *lease)
        except StoreUnavailable as error:
            log.warning("job %s: lease not renewed: %s", lease.job_id, error)
        except Exception:
            # A thread that ended would let every lease run out, unseen.
            log.exception("job %s: lease not renewed", lease.job_id)
