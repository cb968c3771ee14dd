"""The real worker process, with a stopwatch on its engine.

Arguments: the base, and the file that its turns are added to.
"""

import sys
from pathlib import Path

from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import Engine
from lorajobs.settings import Settings
from lorajobs.worker import run_worker


def _timed(entry: ModelEntry, settings: Settings) -> Engine:
    # As for any worker torch is for the child only.
    from bench.stopwatch import TimedEngine

    return TimedEngine(entry, settings, out=Path(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(run_worker(Settings.from_env(), sys.argv[1].split(","), _timed))
