"""Each test runs a real supervisor in a process of its own, over tiny Python children.

What the supervisor says arrives line by line, so a test waits by reading; that all processes are
gone shows as the end of a pipe which every one of them inherited.
"""

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PRELUDE = """
import os, pathlib, signal, sys
from lorajobs.processes.child import Program
from lorajobs.processes.supervisor import Supervisor

FD = int(sys.argv[1])
HOME = pathlib.Path(sys.argv[2])

def child(name, code, **options):
    code = "import os, pathlib, signal, sys, time; home = pathlib.Path(sys.argv[1]); " + code
    argv = [sys.executable, "-S", "-E", "-c", code, str(HOME)]
    return Program(name, argv, {}, keep_fds=(FD,), **options)

def run(*stages):
    said = lambda name, line: print(f"{name}: {line}", flush=True)
    sys.exit(Supervisor(stages, HOME / "logs", said, lambda: print("ready", flush=True)).run())
"""
FOREVER = "print('WARNING up', os.getpid(), flush=True); signal.pause()"


class Group:
    """A supervisor under test and the pipe that its whole group holds open."""

    def __init__(self, code: str, home: Path) -> None:
        self._held, ours = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(code), str(ours), str(home)],
            pass_fds=(ours,),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        os.close(ours)
        self.said: list[str] = []

    def until(self, *words: str) -> str:
        """Reads what is said up to a line with all these words."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.append(line.strip())
            if all(word in line for word in words):
                return line.strip()
        raise AssertionError(f"{words} was never said: {self.said}")

    def ends(self) -> int:
        """Waits until no process of the group lives, then for the supervisor's exit status."""
        readable, _, _ = select.select([self._held], [], [], 20)
        assert readable, f"a process is left: {self.said}"
        assert os.read(self._held, 1) == b""
        assert self.process.stdout
        self.said += [line.strip() for line in self.process.stdout]
        return self.process.wait(timeout=20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        os.close(self._held)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Callable[[str], Group]]:
    started: list[Group] = []

    def start(code: str) -> Group:
        started.append(Group(code, tmp_path))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_a_stage_waits_until_the_one_before_is_ready(group: Callable[[str], Group]) -> None:
    run = group(
        f"""
        first = child("first", "(home / 'flag').touch(); {FOREVER}",
                      ready=lambda: (HOME / "flag").exists())
        second = child("second", "print('WARNING', (home / 'flag').exists(), flush=True);"
                                 "signal.pause()")
        run([first], [second])
        """
    )
    assert run.until("second", "WARNING") == "second: WARNING True"
    run.process.send_signal(signal.SIGTERM)
    assert run.ends() == 0


def test_stop_ends_later_stages_first_and_lets_each_finish(
    group: Callable[[str], Group], tmp_path: Path
) -> None:
    finish = (
        "signal.signal(signal.SIGTERM, lambda *_: ("
        "(home / 'order').open('a').write(sys.argv[0] + NAME + chr(10)), sys.exit(0))); "
        "(home / NAME).touch(); print('WARNING up', flush=True); signal.pause()"
    )
    run = group(
        f"""
        finish = {finish!r}
        run([child("store", finish.replace("NAME", "'store'"),
                   ready=lambda: (HOME / "store").exists())],
            [child("worker", finish.replace("NAME", "'worker'"))])
        """
    )
    run.until("worker: WARNING up")
    run.process.send_signal(signal.SIGINT)
    assert run.ends() == 0
    assert (tmp_path / "order").read_text().split() == ["-cworker", "-cstore"]
    assert any("SIGINT: stopping" in line for line in run.said)


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(
    group: Callable[[str], Group],
) -> None:
    run = group(
        f"""
        run([child("deaf", "signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}",
                   grace_s=0.1)])
        """
    )
    run.until("deaf: WARNING up")
    run.process.send_signal(signal.SIGTERM)
    assert run.ends() == 0
    assert "deaf: did not end in 0.1 s: killed" in run.said


def test_a_second_signal_kills_at_once(group: Callable[[str], Group]) -> None:
    run = group(
        f"""
        run([child("deaf", "signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}",
                   grace_s=3600)])
        """
    )
    run.until("deaf: WARNING up")
    run.process.send_signal(signal.SIGINT)
    run.until("stopping")
    run.process.send_signal(signal.SIGINT)
    assert run.ends() == 0
    assert ": killing what still runs" in run.said


def test_a_dead_child_is_started_again_and_said_so(group: Callable[[str], Group]) -> None:
    run = group(f'run([child("worker", "{FOREVER}")])')
    first = int(run.until("worker: WARNING up").split()[-1])
    os.kill(first, signal.SIGKILL)
    assert "died (SIGKILL), starts again in 0.25 s" in run.until("worker: died")
    second = int(run.until("worker: WARNING up").split()[-1])
    assert second != first
    run.process.send_signal(signal.SIGTERM)
    assert run.ends() == 0


def test_what_a_dead_child_started_is_killed_before_the_next_start(
    group: Callable[[str], Group],
) -> None:
    # The second process keeps the lock as a web server's worker keeps the port.
    code = (
        "import fcntl; file = (home / 'port').open('w'); "
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB); "
        "os.fork() or signal.pause(); print('WARNING bound', flush=True); sys.exit(1)"
    )
    run = group(f'run([child("api", {code!r})])')
    run.until("api: WARNING bound")
    run.until("api: died (exit status 1)")
    run.until("api: WARNING bound")
    run.process.send_signal(signal.SIGTERM)
    assert run.ends() == 0


def test_the_last_words_of_a_dead_child_are_shown(group: Callable[[str], Group]) -> None:
    run = group('run([child("worker", "print(\'no level, yet the reason\'); sys.exit(3)")])')
    assert run.until("worker:") == "worker: no level, yet the reason"
    run.until("died (exit status 3)")
    run.process.send_signal(signal.SIGTERM)
    assert run.ends() == 0


def test_a_wrong_configuration_stops_the_group(group: Callable[[str], Group]) -> None:
    run = group(
        f"""
        worker = child("worker", "print('no such model'); sys.exit(78)")
        run([child("store", "{FOREVER}")], [worker])
        """
    )
    assert run.ends() == 78
    assert "worker: no such model" in run.said
    assert "worker: its configuration is wrong: stopping" in run.said


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_sigkill_of_the_supervisor_leaves_no_process(group: Callable[[str], Group]) -> None:
    deaf = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"
    run = group(f'run([child("store", "{deaf}")], [child("worker", "{deaf}")])')
    run.until("worker: WARNING up")
    run.process.kill()
    assert run.ends() == -signal.SIGKILL


def test_a_child_that_closes_its_output_is_not_taken_for_dead(
    group: Callable[[str], Group],
) -> None:
    run = group(
        """
        run([child("mute", "os.close(1); os.close(2); (home / 'closed').touch(); signal.pause()",
                   ready=lambda: (HOME / "closed").exists())])
        """
    )
    run.until("ready")
    run.process.send_signal(signal.SIGTERM)
    assert run.ends() == 0
    assert not any("died" in line for line in run.said)


def test_everything_is_filed_and_only_warnings_are_shown(
    group: Callable[[str], Group], tmp_path: Path
) -> None:
    say = "print('[INFO] quiet'); print('[ERROR] loud'); print('more of it'); print('[INFO] end')"
    run = group(f'run([child("api", "{say}; sys.stdout.flush(); signal.pause()")])')
    run.until("api: more of it")
    run.process.send_signal(signal.SIGTERM)
    assert run.ends() == 0
    assert [line for line in run.said if line.startswith("api")] == [
        "api: [ERROR] loud",
        "api: more of it",
    ]
    filed = (tmp_path / "logs" / "api.log").read_text().splitlines()
    assert filed == ["[INFO] quiet", "[ERROR] loud", "more of it", "[INFO] end"]
