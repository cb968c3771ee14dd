"""The base that a worker's child has loaded, one at a time."""

import time
from collections.abc import Callable, Collection, Sequence

from lorajobs.engine.base import Engine, LocalAdapter
from lorajobs.groups import shas_of
from lorajobs.jobs import AppliedLora

#: Seconds that loading a base may take at most, from a slow disk or the hub.
LOAD_S = 1800.0


class Bases:
    """Loads the base that a job needs in place of the one before."""

    def __init__(
        self, open_engine: Callable[[str], Engine], say_base: Callable[[str, float, str], None]
    ) -> None:
        """`open_engine` loads a base by its id; `say_base` hears what is loaded, empty for nothing,
        how long that took, seconds, and where its pristine weights lie.
        """
        self._open_engine = open_engine
        self._say_base = say_base
        self._engine: Engine | None = None
        #: how often a base was asked for
        self.uses = 0
        self._model = ""

    def has(self, model: str) -> bool:
        """True if this base is loaded."""
        return self._engine is not None and model == self._model

    def engine(self, model: str) -> Engine:
        """The engine of this base, which is loaded first unless it is.

        Raises: BaseLoadFailed and what loading pre-loaded adapters raises; no base is loaded then.
        """
        self.uses += 1
        if self._engine is None or model != self._model:
            self.unload()
            begun = time.monotonic()
            self._engine = self._open_engine(model)
            self._model = model
            self._say_base(model, time.monotonic() - begun, self._engine.placement())
        return self._engine

    def lacks(self, model: str, group: str) -> bool:
        """True if this base is loaded, but not all of the group's adapters are in host memory."""
        return self.has(model) and not {*shas_of(group)} <= {*self.resident()}

    def stage(self, model: str, adapters: Sequence[LocalAdapter]) -> None:
        """Brings adapters of this base into host memory, from another thread.

        Raises: what `Engine.stage` raises.
        """
        engine = self._engine
        if engine is not None and model == self._model:
            engine.stage(adapters)

    def applied(self) -> Sequence[AppliedLora]:
        """The adapters that are active now."""
        return self._engine.applied() if self._engine else ()

    def resident(self) -> Collection[str]:
        """The SHA-256 of adapters in host memory."""
        return self._engine.resident() if self._engine else ()

    def check(self) -> None:
        """Compares a sample of the loaded base's weights with what they must be.

        Raises: BaseCorrupt and what else `Engine.check` raises.
        """
        if self._engine is not None:
            self._engine.check()

    def unload(self) -> bool:
        """Gives back the base's memory; False if none is loaded."""
        if self._engine is None:
            return False
        self._say_base("", 0.0, "")
        self._engine.close()
        self._engine = None
        return True
