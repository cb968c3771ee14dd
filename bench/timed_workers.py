"""The worker of `bench.timed_worker` on each GPU, kept as `lorajobs worker --gpus` keeps its own.

Arguments: those of one worker, and the numbers of the GPUs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from lorajobs.processes import gpus, programs
from lorajobs.processes.child import Program
from lorajobs.processes.screen import Screen
from lorajobs.processes.supervisor import Supervisor
from lorajobs.settings import Settings


def turns_of(turns: Path, gpu: int) -> Path:
    """The file of one GPU's worker."""
    return turns.with_suffix(f".gpu{gpu}{turns.suffix}")


def main(base: str, limit: str, turns: str, asked: str) -> int:
    """Runs the group until SIGTERM; the exit code.

    Raises: ConfigError if there is no such GPU.
    """
    settings = Settings.from_env()
    found = gpus.chosen(asked, settings)
    group = []
    for share, gpu in zip(gpus.shares(settings, found), found, strict=True):
        program = programs.worker(share, [base], gpu)
        words = (base, limit, str(turns_of(Path(turns), gpu.number)))
        argv = [sys.executable, "-m", "bench.timed_worker", *words]
        group.append(program._replace(argv=argv, ready=None, verbose=True))
    return _supervised(group, settings.data_dir / "logs")


def _supervised(group: Sequence[Program], logs: Path) -> int:
    screen = Screen("gpus", [program.name for program in group])
    return Supervisor([group], logs, screen.say).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
