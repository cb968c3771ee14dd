"""The base that a worker's child has on its device, one at a time, and those that are parked."""

import gc
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from lorajobs import logs
from lorajobs.engine.base import Engine, LocalAdapter
from lorajobs.errors import LoraJobsError
from lorajobs.groups import shas_of
from lorajobs.jobs import AppliedLora

log = logging.getLogger(__name__)

#: Seconds that loading a base may take at most, from a slow disk or the hub.
LOAD_S = 1800.0


#: Hears what is loaded, empty for nothing, how long that took, seconds, where its pristine weights
#: lie, and which others are parked.
SayBase = Callable[[str, float, str, Sequence[str]], None]


class Bases:
    """Brings the base that a job needs in place of the one before."""

    def __init__(
        self, open_engine: Callable[[str], Engine], say_base: SayBase, parked_bytes: int = 0
    ) -> None:
        """`open_engine` loads a base by its id; `parked_bytes` of host memory are for all bases
        that can be parked, the one in use among them.
        """
        self._open_engine = open_engine
        self._say_base = say_base
        self._parked_bytes = parked_bytes
        self._engine: Engine | None = None
        #: the one used last at the end
        self._parked: OrderedDict[str, Engine] = OrderedDict()
        #: how often a base was asked for
        self.uses = 0
        self._model = ""

    def has(self, model: str) -> bool:
        """True if this base is loaded."""
        return self._engine is not None and model == self._model

    def engine(self, model: str) -> Engine:
        """The engine of this base, which is brought back or loaded first unless it is there.

        Raises: BaseLoadFailed and what loading pre-loaded adapters raises; no base is loaded then.
        """
        self.uses += 1
        if self._engine is None or model != self._model:
            self._leave(free=False)
            begun = time.monotonic()
            returned = self._returned(model)
            # The name first: another thread must not take the engine for the base before's.
            self._model, self._engine = model, returned or self._open_engine(model)
            took_s, placement = time.monotonic() - begun, self._engine.placement()
            self._keep_within_budget()
            if not gc.get_freeze_count():
                # One was closed, so the collector looks at what the others are made of again.
                gc.freeze()
            self._say_base(model, took_s, placement, [*self._parked])
            event = "base returned" if returned else "base loaded"
            logs.step(event, base=model, load_ms=logs.ms(took_s), placement=placement)
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
        engine = self._engine
        return engine.resident() if engine else ()

    def check(self) -> None:
        """Compares a sample of the loaded base's weights with what they must be.

        Raises: BaseCorrupt and what else `Engine.check` raises.
        """
        if self._engine is not None:
            self._engine.check()

    def unload(self) -> str:
        """Gives back the device's memory: what became of the base, empty if there is none."""
        return self._leave(free=True)

    def _leave(self, *, free: bool) -> str:
        """The base lets another have the device, or nobody; `parked`, `closed` or empty."""
        engine, model = self._engine, self._model
        if engine is None:
            return ""
        self._engine = None
        is_parked = self._park(engine, free=free)
        if is_parked:
            self._parked[model] = engine
        self._say_base("", 0.0, "", [*self._parked])
        if not is_parked:
            engine.close()
        return "parked" if is_parked else "closed"

    def _park(self, engine: Engine, *, free: bool) -> bool:
        if not 0 < engine.footprint() <= self._parked_bytes:
            return False
        try:
            engine.park(free=free)
        except LoraJobsError as error:
            log.warning("the base %s is closed, not parked: %s", self._model, error.detail)
            return False
        return True

    def _returned(self, model: str) -> Engine | None:
        """The base if it was parked and all of it is back."""
        engine = self._parked.pop(model, None)
        if engine is None:
            return None
        try:
            engine.unpark()
        except LoraJobsError as error:
            log.warning("the base %s is loaded again: %s", model, error.detail)
            self._say_base("", 0.0, "", [*self._parked])
            engine.close()
            return None
        return engine

    def _keep_within_budget(self) -> None:
        used = self._engine.footprint() if self._engine else 0
        used += sum(engine.footprint() for engine in self._parked.values())
        while self._parked and used > self._parked_bytes:
            model, engine = self._parked.popitem(last=False)
            used -= engine.footprint()
            engine.close()
            log.info("the base %s is no longer parked: LORAJOBS_PARKED_MB is short", model)
