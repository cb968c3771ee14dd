"""Why a waiting job waits."""

import pytest

from lorajobs.place import Place
from lorajobs.store import WorkerState
from lorajobs.whereabouts import Tier
from lorajobs.why import Why, why


def worker(state: str = "warm", job_id: str | None = "j") -> WorkerState:
    return WorkerState("w", "demo", state, (), job_id)


BUSY, FREE = worker(), worker(job_id=None)
OTHER = FREE._replace(model="other", others=("demo",))
DRAINING, LOADING = worker("draining"), worker("loading", None)


@pytest.mark.parametrize(
    ("position", "own", "tiers", "expected"),
    [
        (0, [], ["disk"], "no_worker"),
        (0, [DRAINING], ["applied"], "draining"),
        (0, [DRAINING, LOADING], ["disk"], "loading"),
        (0, [FREE], ["disk", "remote"], "fetching"),
        (0, [FREE, BUSY], ["disk"], "next"),
        (1, [FREE, BUSY], ["disk"], "busy"),
        (1, [FREE, FREE], [], "next"),
        (0, [worker("unloaded", None)], [], "next"),
        (0, [OTHER, worker("loading")], ["disk"], "other_base"),
        (0, [OTHER, BUSY], ["disk"], "busy"),
        (3, [BUSY], ["applied", "applied"], "swapless"),
        (3, [BUSY], ["applied", "memory"], "busy"),
        # The base alone: nothing to swap, and nothing applied either.
        (3, [BUSY], [], "busy"),
    ],
)
def test_one_word_for_it(
    position: int, own: list[WorkerState], tiers: list[Tier], expected: Why
) -> None:
    assert why("demo", Place(position, position, False, 1.0), own, tiers) == expected
