"""What the bases of one worker's child share, so that those that are not in use can be parked."""

import logging
from functools import cached_property
from weakref import WeakSet

from diffusers import DiffusionPipeline

from lorajobs.catalog import ModelEntry
from lorajobs.engine.arena import why_not_fusable
from lorajobs.engine.berth import Berth, Cargo, why_not_movable
from lorajobs.engine.device import pick_device
from lorajobs.engine.graphs import Graphs
from lorajobs.engine.host_cache import HostCache, Shelf
from lorajobs.engine.inplace import InPlaceRack
from lorajobs.engine.loading import models_of
from lorajobs.engine.lora_weights import Reader
from lorajobs.engine.packer import Packer
from lorajobs.engine.placement import (
    GPU_WORKING_BYTES,
    HOST_WORKING_BYTES,
    Memory,
    Placement,
    choose,
)
from lorajobs.engine.pool import Pool
from lorajobs.engine.rack import Rack
from lorajobs.engine.racks import free_memory, fuser_for, pool_for
from lorajobs.engine.slab import Slab
from lorajobs.settings import Settings

log = logging.getLogger(__name__)
_SHORT = "memory is short, so adapters lie beside its weights"


class Stay:
    """One base in a garage: in the slab, or parked."""

    def __init__(self, garage: "Garage", berth: Berth, rack: Rack) -> None:
        """Takes a base that lies in the slab."""
        self._garage = garage
        self._berth = berth
        self.rack = rack
        #: False while another base may lie there
        self.is_here = True

    @property
    def size(self) -> int:
        """Bytes of host memory that it comes back from."""
        return self._berth.size

    def leave(self, *, free: bool) -> None:
        """Lets another base have the slab; `free` gives back the device's memory.

        The base must be bare. Raises: what the device's last work raises.
        """
        self._berth.wait()
        self.is_here = False
        if free:
            self._garage.free()

    def enter(self) -> None:
        """Brings the base back, bare, once no other lies in the slab.

        Raises: what allocation and copies raise; the base is not there then.
        """
        self.is_here = False
        self._garage.make_room(self._berth.reach)
        self._berth.fill()
        self.is_here = True


class Garage:
    """A slab that one base at a time lies in, and host memory for the adapters of all of them.

    Not thread-safe. A base that cannot be parked has the device for itself.
    """

    def __init__(self, settings: Settings) -> None:
        """Takes nothing yet; the budget for a base is `parked_mb`."""
        self._device = pick_device(settings.device)
        self._budget = settings.parked_mb << 20
        self._cache_bytes = settings.host_cache_mb << 20
        self._slab = Slab(self._device)
        self._cache = HostCache(self._cache_bytes)
        self._bases: set[str] = set()
        self._graphs: WeakSet[Graphs] = WeakSet()

    def admit(self, pipe: DiffusionPipeline, entry: ModelEntry) -> Stay | None:
        """Moves a base that was loaded into the host's memory to the device.

        None, and the slab is free, if it cannot be parked; the log says why. No other base may lie
        in the slab. Raises: BaseLoadFailed, and what allocation raises.
        """
        models = models_of(pipe)
        reader = Reader(pipe)
        adapted = {name: models[name] for name in reader.targets}
        where, cargo = Placement.UNFUSED, None
        why_not = why_not_fusable(adapted) or why_not_movable(models)
        if entry.placement == Placement.UNFUSED:
            why_not = "adapters lie beside its weights"
        if why_not is None:
            cargo = Cargo(models, adapted)
            why_not = self._why_no_room(cargo)
        if why_not is None and cargo:
            where = choose(entry.placement, None, cargo.stacked, self._free_beside(cargo))
        if cargo is None or where is Placement.UNFUSED:
            log.warning("%s is not parked when another comes: %s", entry.id, why_not or _SHORT)
            self.free()
            return None
        return self._moved(cargo, reader, where, entry.id)

    def make_room(self, size: int) -> None:
        """Has a slab of so many bytes at least; where it moves, steps must be recorded anew.

        Raises: what allocation raises; there is no slab then.
        """
        if self._slab.size < size:
            # All bases' tensors follow it to its new place, but no recording does.
            self.free()
            self._slab.take(size)

    def watch(self, graphs: Graphs) -> None:
        """Forgets these recordings when the slab goes."""
        self._graphs.add(graphs)

    def dismiss(self, base: str) -> None:
        """Forgets a base that is closed."""
        shelf = Shelf(self._cache, base)
        shelf.hold(())
        shelf.clear()
        self._bases.discard(base)
        if not self._bases:
            self.free()

    def free(self) -> None:
        """Gives back the device's memory, and the recorded steps, which know its address."""
        self.forget_graphs()
        self._slab.free()

    def forget_graphs(self) -> int:
        """Gives back the memory of all recorded steps, parked bases' too; how many there were."""
        return sum(graphs.release() for graphs in self._graphs)

    def _moved(self, cargo: Cargo, reader: Reader, where: Placement, base: str) -> Stay:
        twin_near = where is Placement.GPU
        self.make_room(cargo.reach(twin_near=twin_near))
        berth = Berth(cargo, self._slab, twin_near=twin_near)
        berth.fill()
        self._bases.add(base)
        sizes = (cargo.stacked / 1e9, cargo.size / 1e9, self._slab.size / 1e9)
        log.info("adapters: placement %s, W0 %.2f GB; base %.2f GB, slab %.2f GB", where, *sizes)
        packer = Packer(reader, berth.arena, self._pool)
        fuser, shelf = fuser_for(berth.arena, self._device), Shelf(self._cache, base)
        rack = InPlaceRack(berth.arena, fuser, shelf, packer, where)
        return Stay(self, berth, rack)

    @cached_property
    def _pool(self) -> Pool:
        return pool_for(self._device, self._cache_bytes)

    def _why_no_room(self, cargo: Cargo) -> str | None:
        if self._device.type not in ("cpu", "cuda"):
            return f"it computes on {self._device.type}"
        if cargo.size > self._budget:
            return f"it takes {cargo.size >> 20} MiB, LORAJOBS_PARKED_MB is {self._budget >> 20}"
        if free_memory(self._device).host - cargo.size < HOST_WORKING_BYTES:
            return f"host memory is short of {cargo.size >> 20} MiB"
        return None

    def _free_beside(self, cargo: Cargo) -> Memory:
        """What is free once the base, without a twin, is in the slab."""

        def look() -> Memory:
            gpu, host = free_memory(self._device)
            return Memory(None if gpu is None else gpu + self._slab.size - cargo.size, host)

        found = look()
        if found.gpu is not None and found.gpu - cargo.stacked < GPU_WORKING_BYTES:
            # A parked base's steps are recorded again in a moment.
            self.forget_graphs()
            found = look()
        return found
