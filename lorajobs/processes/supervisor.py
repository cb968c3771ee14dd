"""Keeps a group of processes running: started in stages, restarted when they die, ended together.

One thread: it waits for output, the end of a child and signals in one place.
"""

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from lorajobs.processes.child import Child, Program

#: Exit status of a process whose settings are wrong (`sysexits.h`): a restart cannot help.
EX_CONFIG = 78
BACKOFF_S = (0.25, 1.0, 2.0, 5.0, 10.0, 30.0)
#: A process that ran this long starts its backoff anew.
STEADY_S = 30.0
POLL_S = 0.1

#: Shows a line; the first argument is the process it is about, or empty.
Say = Callable[[str, str], None]


class Supervisor:
    """Runs programs in stages: each stage waits until all of the one before are ready."""

    def __init__(
        self,
        stages: Sequence[Sequence[Program]],
        logs: Path,
        say: Say,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts nothing yet; `on_ready` is called once, when the whole group is ready."""
        self._stages = [[Child(program, logs) for program in stage] for stage in stages]
        self._logs = logs
        self._say = say
        self._on_ready = on_ready
        self._announced = False
        self._stopping = False
        self._status = 0
        self._failures: dict[Child, int] = {}
        #: when to start a child, or once stopping, when to kill it
        self._due: dict[Child, float] = {}
        self._outputs: dict[Child, int] = {}
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []

    def run(self) -> int:
        """Runs the group until SIGINT, SIGTERM or SIGHUP; call it in the main thread.

        Returns 0, or EX_CONFIG if a process found its configuration wrong.
        """
        with self._listening():
            try:
                while not self._ended():
                    self._wait()
                    self._obey()
                    self._collect()
                    self._stop() if self._stopping else self._start()
            finally:
                self._close()
        return self._status

    def stop(self) -> None:
        """Begins an orderly end; the second time, kills at once."""
        for child in self._alive():
            if self._stopping:
                child.kill()
        self._due = {}
        self._stopping = True

    @property
    def _children(self) -> list[Child]:
        return [child for stage in self._stages for child in stage]

    def _alive(self) -> list[Child]:
        return [child for child in self._children if child.alive]

    def _ended(self) -> bool:
        return self._stopping and not self._alive()

    def _start(self) -> None:
        now = time.monotonic()
        for stage in self._stages:
            for child in stage:
                if not child.alive and self._due.get(child, now) <= now:
                    self._due.pop(child, None)
                    self._outputs[child] = child.start()
                    self._selector.register(self._outputs[child], selectors.EVENT_READ, child)
            if not all([child.alive and child.check_ready() for child in stage]):
                return
        if not self._announced:
            self._announced = True
            self._on_ready()

    def _stop(self) -> None:
        now = time.monotonic()
        for stage in reversed(self._stages):
            for child in stage:
                if child.alive and child not in self._due:
                    child.terminate()
                    self._due[child] = now + child.program.grace_s
                elif child.alive and self._due[child] <= now:
                    self._say(
                        child.program.name, f"did not end in {child.program.grace_s:g} s: killed"
                    )
                    child.kill()
                    self._due[child] = now + child.program.grace_s
            if any(child.alive for child in stage):
                return

    def _wait(self) -> None:
        waits = [max(0.0, due - time.monotonic()) for due in self._due.values()]
        if not self._stopping and not all(child.is_ready for child in self._children):
            waits.append(POLL_S)
        for key, _ in self._selector.select(min(waits, default=None)):
            if isinstance(key.data, Child):
                lines, ended = key.data.read()
                self._show(key.data, lines)
                if ended:
                    self._forget_output(key.data)
            else:
                os.read(key.fd, 4096)

    def _obey(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if self._stopping:
                self._say("", "killing what still runs")
            else:
                name = signal.Signals(number).name
                self._say("", f"{name}: stopping, running jobs may finish; once more to kill")
            self.stop()

    def _collect(self) -> None:
        for child in self._alive():
            if (status := child.reap()) is None:
                continue
            self._forget_output(child)
            self._show(child, child.close(died=not self._stopping))
            self._due.pop(child, None)
            if not self._stopping:
                self._after_death(child, status)

    def _after_death(self, child: Child, status: int) -> None:
        how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        if status == EX_CONFIG:
            self._say(child.program.name, "its configuration is wrong: stopping")
            self._status = EX_CONFIG
            self.stop()
            return
        now = time.monotonic()
        if now - child.started_at >= STEADY_S:
            self._failures.pop(child, None)
        failures = self._failures.get(child, 0)
        self._failures[child] = failures + 1
        delay = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
        self._due[child] = now + delay
        log = self._logs / f"{child.program.name}.log"
        self._say(child.program.name, f"died ({how}), starts again in {delay:g} s; log: {log}")

    def _forget_output(self, child: Child) -> None:
        if (output := self._outputs.pop(child, None)) is not None:
            self._selector.unregister(output)

    def _show(self, child: Child, lines: Sequence[str]) -> None:
        for line in lines:
            self._say(child.program.name, line)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Turns signals into entries of a list and a byte that wakes the selector."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        self._selector.register(read, selectors.EVENT_READ)

        def note(number: int, frame: FrameType | None) -> None:
            if number != signal.SIGCHLD:
                self._signals.append(number)

        watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
        before = {number: signal.signal(number, note) for number in watched}
        wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(read)
            os.close(write)

    def _close(self) -> None:
        for child in self._alive():
            child.kill()
        for child in self._children:
            child.log.close()
        self._selector.close()
