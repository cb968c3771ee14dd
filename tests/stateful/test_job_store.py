"""The job store under random use; `pytest --hypothesis-profile=thorough` takes half an hour."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from lorajobs.jobs import TRANSITIONS
from tests.backends import MemoryBackend, RedisBackend
from tests.stateful.agreement import Move
from tests.stateful.machine import RULES, StoreMachine
from tests.stateful.redis_machine import RedisMachine

# Hypothesis ends by itself: it shrinks a failure for 300 s at most.
pytestmark = pytest.mark.timeout(0)

EDGES = {(before, after) for before, targets in TRANSITIONS.items() for after in targets}


def _use(open_machine: Callable[[], RuleBasedStateMachine], share: int) -> None:
    """Runs so many times fewer examples than the profile says."""
    fewer = settings(
        max_examples=settings().max_examples // share,
        # Most rules need something to work on, and a server takes its time.
        suppress_health_check=list(HealthCheck),
    )
    # It calls its argument, whatever that is; its type says a class.
    run_state_machine_as_test(open_machine, settings=fewer)  # type: ignore[arg-type]


def test_random_use_of_the_store_in_memory() -> None:
    walked: set[Move] = set()
    _use(lambda: StoreMachine(MemoryBackend(RULES), walked), share=2)
    assert walked == EDGES


def test_random_use_of_the_store_on_redis(valkey_url: str) -> None:
    walked: set[Move] = set()
    _use(lambda: RedisMachine(RedisBackend(valkey_url, RULES), walked), share=6)
    assert walked == EDGES
