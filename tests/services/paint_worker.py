"""A real worker process that paints instead of running a pipeline; for tests of the queue.

Arguments: the bases with commas between them, and the seconds that a step and, if
given, a change of adapters and loading a base take.
"""

import sys

from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import Engine
from lorajobs.engine.paint import PaintEngine
from lorajobs.settings import Settings
from lorajobs.worker import run_worker


def _paint(entry: ModelEntry, settings: Settings) -> Engine:
    return PaintEngine(*map(float, sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(run_worker(Settings.from_env(), sys.argv[1].split(","), _paint))
