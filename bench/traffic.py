"""A client that keeps a backlog: it submits over HTTP whenever too few jobs wait."""

import logging
import random
import threading

import httpx

from lorajobs.errors import StoreUnavailable
from lorajobs.store import Housekeeping

log = logging.getLogger(__name__)

LOOK_S = 0.05
STEPS, SIDE = 8, 256
#: What the jobs ask for, the first most often.
LORAS = ("pixel", "soft3d", "lineart", None)
WEIGHTS = (4, 2, 1, 1)
#: Answers that say nothing is wrong with the request; it is made anew.
LATER = (429, 503)


class Traffic(threading.Thread):
    """Submits until it is stopped.

    A submit without an answer, or with one that asks to come back later, may have made a job
    all the same; the next submit makes another.
    """

    def __init__(
        self, url: str, webhook: str, store: Housekeeping, waiting: int, rng: random.Random
    ) -> None:
        """`waiting` is how many jobs are kept waiting; each announces its end to `webhook`."""
        super().__init__(name="traffic", daemon=True)
        #: ids of the jobs that were answered with 202
        self.accepted: list[str] = []
        #: submits that may or may not have made a job
        self.unanswered = 0
        #: answers that no fault explains
        self.refusals: list[str] = []
        self._http = httpx.Client(base_url=url, timeout=5, trust_env=False)
        self._webhook = webhook
        self._store = store
        self._waiting = waiting
        self._rng = rng
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ends it after the submit at hand."""
        self._stopped.set()
        self.join()
        self._http.close()

    def run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            try:
                missing = self._waiting - sum(self._store.backlog().values())
            except StoreUnavailable:
                continue
            for _ in range(missing):
                if self._stopped.is_set() or not self._submit():
                    break

    def _submit(self) -> bool:
        """True if the job was accepted."""
        try:
            reply = self._http.post("/v1/jobs", json=self._body())
        except httpx.TransportError as error:
            log.debug("no answer to a submit: %r", error)
            self.unanswered += 1
            return False
        if reply.status_code == 202:
            self.accepted.append(reply.json()["id"])
            return True
        self.unanswered += 1
        if reply.status_code not in LATER:
            self.refusals.append(f"{reply.status_code} {reply.text}")
        return False

    def _body(self) -> dict[str, object]:
        (lora,) = self._rng.choices(LORAS, WEIGHTS)
        return {
            "model": "demo",
            "prompt": "a red heart",
            "seed": self._rng.randrange(2**31),
            "num_inference_steps": STEPS,
            "width": SIDE,
            "height": SIDE,
            "loras": [{"id": lora}] if lora else [],
            "webhook": {"url": self._webhook},
        }
