"""The real worker process, with a stopwatch on its engine.

Arguments: the bases, the GPU's memory that it may take in GB (0: all), and the file that its turns
are added to.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import Engine
from lorajobs.settings import Settings
from lorajobs.worker import engines, run_worker

if TYPE_CHECKING:
    from lorajobs.engine.garage import Garage


def _timed(entry: ModelEntry, settings: Settings, garage: "Garage | None") -> Engine:
    # As for any worker torch is for the child only.
    from bench.stopwatch import TimedEngine, limit_memory

    limit_memory(float(sys.argv[2]))
    return TimedEngine(entry, settings, garage, out=Path(sys.argv[3]))


if __name__ == "__main__":
    settings, bases = Settings.from_env(), sys.argv[1].split(",")
    sys.exit(run_worker(settings, bases, engines(settings, len(bases), _timed)))
