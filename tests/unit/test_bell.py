"""A bell between two processes."""

import os
import threading

from lorajobs.bell import Bell

WAIT_S = 30.0


def test_a_ring_before_the_wait_is_heard_once() -> None:
    bell = Bell()
    for _ in range(100_000):
        bell.ring()
    assert bell.wait(0)
    while bell.wait(0):
        pass
    assert not bell.wait(0)


def test_it_wakes_who_waits() -> None:
    bell, heard = Bell(), list[bool]()
    waiting = threading.Thread(target=lambda: heard.append(bell.wait(WAIT_S)))
    waiting.start()
    bell.ring()
    waiting.join(WAIT_S)
    assert heard == [True]


def test_a_forked_process_rings_it() -> None:
    bell = Bell()
    child = os.fork()
    if not child:
        bell.ring()
        os._exit(0)
    assert bell.wait(WAIT_S)
    os.waitpid(child, 0)
