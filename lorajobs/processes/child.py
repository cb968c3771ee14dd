"""One process of a group: how it is started, read and ended so that it never outlives the group."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lorajobs.processes.logs import ProcessLog

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def dies_with_parent(sent: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends this signal when the thread that starts the child ends.

    Start such children from the main thread. Linux only; nothing happens elsewhere.
    """
    parent = os.getpid()

    def prepare() -> None:
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(sent))
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return prepare


class Program(NamedTuple):
    """What to run, and when it counts as ready."""

    name: str
    argv: Sequence[str]
    #: its whole environment
    env: Mapping[str, str]
    #: asked again and again until true; None: ready as soon as it runs
    ready: Callable[[], bool] | None = None
    #: seconds to end by itself after SIGTERM
    grace_s: float = 10.0
    #: descriptors that it inherits
    keep_fds: Sequence[int] = ()
    #: all its lines are shown, not only warnings and worse
    verbose: bool = False


class Child:
    """A program and its process, if one runs now."""

    def __init__(self, program: Program, logs: Path) -> None:
        """Starts nothing yet; output will go to `logs/<name>.log`."""
        self.program = program
        self.log = ProcessLog(logs / f"{program.name}.log", program.verbose)
        self.started_at = 0.0
        self.is_ready = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """True from `start` until `reap` has seen the end."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Its process id, and that of its process group."""
        return self._process.pid if self._process else None

    def start(self) -> int:
        """Starts the process in a session of its own; returns the descriptor of its output."""
        self._process = subprocess.Popen(
            self.program.argv,
            env=self.program.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            # A terminal's Ctrl-C reaches the supervisor alone, which then ends the group in order.
            start_new_session=True,
            pass_fds=self.program.keep_fds,
            preexec_fn=dies_with_parent(signal.SIGKILL),
        )
        self.started_at = time.monotonic()
        self.is_ready = False
        output = self._output()
        os.set_blocking(output, False)
        return output

    def read(self) -> tuple[list[str], bool]:
        """Files all output there is; returns the lines to show, and True at its end."""
        shown: list[str] = []
        with suppress(BlockingIOError):
            while data := os.read(self._output(), 65_536):
                shown += self.log.feed(data)
            return shown, True
        return shown, False

    def check_ready(self) -> bool:
        """Asks the program until it once said yes."""
        if not self.is_ready:
            self.is_ready = self.program.ready is None or self.program.ready()
        return self.is_ready

    def terminate(self) -> None:
        """Asks the process itself to end; it decides about its own children."""
        if self._process:
            self._process.terminate()

    def kill(self) -> None:
        """Ends the process and all that it started."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def reap(self) -> int | None:
        """The exit status once the process has ended (negative: a signal), else None."""
        if self._process is None or (status := self._process.poll()) is None:
            return None
        # What it left behind in its group still holds ports and this pipe.
        self.kill()
        return status

    def close(self, died: bool) -> list[str]:
        """After `reap`: files the last output; returns the lines to show.

        `died`: nobody asked it to end.
        """
        shown = self.read()[0] + self.log.end(died)
        if self._process and self._process.stdout:
            self._process.stdout.close()
        self._process = None
        self.is_ready = False
        return shown

    def _output(self) -> int:
        if self._process is None or self._process.stdout is None:
            raise RuntimeError(f"{self.program.name} does not run")
        return self._process.stdout.fileno()
