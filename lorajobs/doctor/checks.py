"""Everything that the doctor looks at, in the order in which it is told."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from lorajobs.doctor import (
    adapters,
    bases,
    broker,
    gpu,
    machine,
    object_store,
    processes,
    redis_server,
)
from lorajobs.doctor.finding import Check, Finding
from lorajobs.settings import Settings

Look = Callable[[Settings], Iterable[Finding]]

#: What each looks at, and the seconds that it may take.
_ALL: Mapping[str, tuple[Look, float]] = {
    "redis": (redis_server.server, 20),
    "broker": (broker.broker, 20),
    "storage": (object_store.objects, 40),
    "api": (processes.api, 15),
    "keys": (processes.keys, 15),
    "workers": (processes.workers, 15),
    "courier": (processes.courier, 15),
    "bases": (bases.bases, 60),
    "adapters": (adapters.adapters, adapters.WITHIN_S),
    "gpu": (gpu.device, gpu.WITHIN_S),
    "disk": (machine.disk, 10),
    "packages": (machine.packages, 10),
}


def checks(settings: Settings, names: Collection[str] = ()) -> Sequence[Check]:
    """Those of these names on this installation, all if none are given."""
    return [
        Check(name, partial(look, settings), within_s)
        for name, (look, within_s) in _ALL.items()
        if not names or name in names
    ]
