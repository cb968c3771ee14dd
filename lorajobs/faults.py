"""What an adapter that cannot be applied does to its job: the request's `on_lora_error`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lorajobs.engine.base import Engine, LocalAdapter
from lorajobs.errors import LoraNotApplied, LoraRefused
from lorajobs.jobs import JobWarning
from lorajobs.spec import OnLoraError


class Faults:
    """The adapters of one attempt that were left out, as warnings."""

    def __init__(self, rule: OnLoraError, warnings: list[JobWarning]) -> None:
        """Adds what it leaves out to `warnings`."""
        self._rule = rule
        self._warnings = warnings

    @contextmanager
    def skipped(self) -> Iterator[None]:
        """Turns the fault of one adapter into a warning if the request wants it so.

        What may pass by itself, such as a source that is down, is no fault of the adapter.
        """
        try:
            yield
        except (LoraRefused, LoraNotApplied) as error:
            if self._rule == "fail":
                raise
            self._warnings.append(error.as_skipped())

    def without(self, adapters: Sequence[LocalAdapter], engine: Engine) -> Sequence[LocalAdapter]:
        """The adapters that the engine can apply; all of them if it is to fail otherwise."""
        if self._rule == "fail":
            return adapters
        fit = []
        for adapter in adapters:
            with self.skipped():
                engine.preload([adapter])
                fit.append(adapter)
        return fit
