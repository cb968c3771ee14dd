"""A group of `lorajobs up` of its own, on free ports and a temporary folder."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from lorajobs.client import Client
from lorajobs.client_errors import ClientError
from lorajobs.embedded.ports import free_port
from lorajobs.processes.child import dies_with_parent

START_S = 120.0
STOP_S = 60.0


class GroupFailed(Exception):
    """The group did not start or ended too early; the text holds what it said last."""


class Group:
    """The running group, as its client sees it."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, output: Path) -> None:
        self.url = url
        self._process = process
        self._output = output

    def check(self) -> None:
        """Raises: GroupFailed once the group has ended."""
        if self._process.poll() is not None:
            raise GroupFailed(f"`lorajobs up` ended:\n{self._output.read_text()[-4000:]}")

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Waits for a condition.

        Raises: GroupFailed if the group ends before, or after two minutes.
        """
        deadline = time.monotonic() + START_S
        while not is_so():
            self.check()
            if time.monotonic() > deadline:
                raise GroupFailed(
                    f"not ready in {START_S:g} s:\n{self._output.read_text()[-4000:]}"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends the group in order."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running_group(environment: Mapping[str, str]) -> Iterator[Group]:
    """Starts the group, waits until its API answers, and stops it at the end.

    Raises: GroupFailed.
    """
    with tempfile.TemporaryDirectory(prefix="lorajobs-demo-") as folder:
        port = free_port()
        output = Path(folder, "up.log")
        with output.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "lorajobs", "up", "--port", str(port), "--data-dir", folder],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # The group is stopped by us alone, and by the kernel should we be killed.
                start_new_session=True,
                preexec_fn=dies_with_parent(signal.SIGTERM),
            )
        group = Group(process, f"http://127.0.0.1:{port}", output)
        try:
            group.wait(lambda: _answers(group.url))
            yield group
        finally:
            group.stop()


def _answers(url: str) -> bool:
    with suppress(ClientError), Client(url, timeout_s=2) as client:
        return client.ready()
    return False
