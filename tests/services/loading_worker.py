"""A real worker process whose base never ends to load."""

import sys
import threading

from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import Engine
from lorajobs.engine.paint import PaintEngine
from lorajobs.settings import Settings
from lorajobs.worker import run_worker


class _Loading(PaintEngine):
    def load(self) -> None:
        """Waits until the process is killed."""
        threading.Event().wait()


def _loading(entry: ModelEntry, settings: Settings) -> Engine:
    return _Loading()


if __name__ == "__main__":
    sys.exit(run_worker(Settings.from_env(), sys.argv[1].split(","), _loading))
