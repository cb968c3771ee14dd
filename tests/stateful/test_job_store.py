"""The job store under random use; `pytest --hypothesis-profile=thorough --timeout=0` uses more."""

from hypothesis.stateful import run_state_machine_as_test

from lorajobs.jobs import TRANSITIONS
from tests.backends import MemoryBackend, RedisBackend
from tests.stateful.machine import RULES, Move, RedisMachine, StoreMachine

EDGES = {(before, after) for before, targets in TRANSITIONS.items() for after in targets}


def test_random_use_of_the_store_in_memory() -> None:
    walked: set[Move] = set()
    run_state_machine_as_test(lambda: StoreMachine(MemoryBackend(RULES), walked))
    assert walked == EDGES


def test_random_use_of_the_store_on_redis(valkey_url: str) -> None:
    walked: set[Move] = set()
    run_state_machine_as_test(lambda: RedisMachine(RedisBackend(valkey_url, RULES), walked))
    assert walked == EDGES
