"""Runs a program that dies with the process that started it, however that one dies.

Run as a script it becomes the program: doing this between fork and exec of the test process itself
(`preexec_fn`) is unsafe beside threads, and Python 3.12 warns of it.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def leashed(argv: Sequence[str]) -> list[str]:
    """The command line to start `argv` with; its process id is the program's own.

    On Linux the kernel ends the program with the *thread* that started it: start it from one that
    lives long enough. Elsewhere the program is on its own when its parent is killed.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


def _become(parent: int, argv: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the test run ended before its server began")
    os.execv(argv[0], argv)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
