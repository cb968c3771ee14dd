"""Why a waiting job waits, in one word; the pages put it into a sentence."""

from collections.abc import Collection, Sequence
from typing import Literal

from lorajobs.place import Place
from lorajobs.store import WorkerState
from lorajobs.whereabouts import Tier

#: `no_worker`: nobody serves its base; `draining`: who does was told to take no jobs; `loading`:
#: who does still loads; `fetching`: an adapter is on its way, and others are served meanwhile;
#: `other_base`: who takes it has another base loaded, and changes when that pays; `next`: a worker
#: is free; `swapless`: a busy worker has its adapters applied, and takes it with
#: them; `busy`: all workers are.
Why = Literal[
    "no_worker", "draining", "loading", "fetching", "other_base", "next", "swapless", "busy"
]


def why(
    model: str, place: Place, own: Sequence[WorkerState], tiers: Collection[Tier | None]
) -> Why:
    """`own` are the live workers that serve its base `model`, `tiers` those of its adapters."""
    taking = [worker for worker in own if worker.takes_jobs]
    if not taking:
        return "draining" if own else "no_worker"
    ready = [worker for worker in taking if worker.state != "loading"]
    if not ready:
        return "loading"
    if "remote" in tiers:
        return "fetching"
    warm = [worker for worker in ready if worker.model == model]
    if not warm:
        return "other_base"
    if place.position < sum(worker.job_id is None for worker in warm):
        return "next"
    return "swapless" if tiers and set(tiers) == {"applied"} else "busy"
