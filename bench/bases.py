"""What a base takes to come: from the disk, from pinned host memory, after the GPU was freed."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from rich.console import Console

from bench.report import Goal, Part, at_least, at_most, median, show, show_goals
from bench.speeds import FULL, SMALL, Bed, Scale
from lorajobs.catalog import ModelEntry
from lorajobs.engine.berth import Berth, Cargo
from lorajobs.engine.ferry import tensors_of
from lorajobs.engine.garage import Garage
from lorajobs.engine.loading import models_of
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.engine.slab import Slab

#: From pinned host memory to the device of one H200.
UNET_MS, BASE_MS = 105, 140
#: Of the rate at which the same files are read.
LOAD_SHARE = 0.6
STEPS = 4
TIMES = 5
LOADS = 4
#: Bytes read at a time.
BLOCK = 64 << 20


class Row(NamedTuple):
    """One way to the device."""

    what: str
    gigabytes: float
    #: of each time, seconds
    took: Sequence[float]

    @property
    def rate(self) -> float:
        """GB/s, of the median."""
        return self.gigabytes / median(self.took)

    def cells(self) -> Sequence[str]:
        """For the table."""
        times = (f"{1000 * value:.1f}" for value in (median(self.took), max(self.took)))
        return (self.what, f"{self.gigabytes:.2f}", *times, f"{self.rate:.1f}")

    def as_dict(self) -> Mapping[str, object]:
        """For JSON."""
        return {**self._asdict(), "gb_per_s": self.rate}


class Differences(NamedTuple):
    """What was not as before; 0 each."""

    weights: int
    pictures: int
    addresses: int
    recordings: int


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes; a device's work is waited for."""
    begun = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


class Bases:
    """Two bases of the same files, to the bit as far apart as two precisions."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._times = range(min(TIMES, bed.scale.times))
        self._garage = Garage(bed.settings)
        self.one = self.engine(self._garage)
        self.other = self.engine(self._garage, id="other", dtype="bfloat16")

    def engine(self, garage: Garage, **fields: object) -> DiffusersEngine:
        """The real one, not loaded."""
        entry = self._entry().model_copy(update=fields)
        return DiffusersEngine(entry, self._bed.settings, garage)

    def _entry(self) -> ModelEntry:
        return ModelEntry(id="sdxl", path=self._bed.base, dtype=self._bed.scale.dtype)

    def reading(self) -> Row:
        """The plain reading of the files, which the system's cache has by then."""
        files = sorted(self._bed.base.rglob("*.safetensors"))
        size = sum(path.stat().st_size for path in files) / 1e9
        room = bytearray(BLOCK)

        def read() -> None:
            for path in files:
                with path.open("rb", buffering=0) as file:
                    while file.readinto(room):
                        pass

        read()
        return Row("read the files (cached)", size, [timed(read) for _ in self._times])

    def loading(self, gigabytes: float) -> Sequence[Row]:
        """The first load of a process is not told: it starts CUDA and builds kernels.

        Of one that is to be parked the first is told apart: a virtual machine may have to get the
        memory from its host, however fast that is.
        """
        # Memory for adapters is no part of a base; the second base finds it there.
        settings = self._bed.settings.model_copy(update={"host_cache_mb": 0})
        plain = DiffusersEngine(self._entry(), settings)
        _, *times = [self._loaded(plain) for _ in range(LOADS)]
        plain.close()
        rows = [Row("load it, never to be parked", gigabytes, times)]
        # The second one has what the first took of host memory for adapters.
        self.other.load()
        self.other.park()
        first, *times = [self._loaded(self.one) for _ in range(LOADS)]
        rows.append(Row("load it, to be parked", gigabytes, times))
        return [*rows, Row("the same for the first time", gigabytes, [first])]

    def _loaded(self, engine: DiffusersEngine) -> float:
        engine.close()
        return timed(engine.load)

    def returning(self) -> tuple[Sequence[Row], Differences]:
        """Both by turns, then one after the device was freed."""
        one, bed = self.one, self._bed
        bare = [tensor.clone() for tensor in tensors(one)]
        where = [tensor.data_ptr() for tensor in tensors(one)]
        before, recorded = self._pictures(), recordings(one)
        back: list[float] = []
        lost = 0
        for _ in self._times:
            one.apply(bed.adapters[:1])
            one.park()
            self.other.unpark()
            self.other.park()
            back.append(timed(one.unpark))
            lost = max(lost, recorded - recordings(one))
        found = Differences(
            weights=sum(not same(a, b) for a, b in zip(bare, tensors(one), strict=True)),
            addresses=sum(a != t.data_ptr() for a, t in zip(where, tensors(one), strict=True)),
            recordings=lost,
            pictures=sum(a != b for a, b in zip(before, self._pictures(), strict=True)),
        )
        size = one.footprint() / 1e9
        return [Row("whole base from host memory", size, back), self._freed(size)], found

    def unet(self) -> Row:
        """Of the denoiser alone."""
        scale, device = self._bed.scale, self._bed.device
        dtype = getattr(torch, scale.dtype)
        parts = {"unet": UNet2DConditionModel.from_pretrained(self._bed.base / "unet", dtype=dtype)}
        cargo, slab = Cargo(parts, ["unet"]), Slab(device)
        slab.take(cargo.reach(twin_near=True))
        berth = Berth(cargo, slab, twin_near=True)
        took = [timed(berth.fill) for _ in self._times]
        return Row("U-Net from host memory", cargo.size / 1e9, took)

    def _freed(self, size: float) -> Row:
        before = reserved()
        self.one.park(free=True)
        after = reserved()
        took = [timed(self.one.unpark)]
        what = f"the same, the device freed before ({before:.1f} → {after:.1f} GB)"
        return Row(what, size, took)

    def _pictures(self) -> Sequence[bytes]:
        """Under each adapter, then bare."""
        made = []
        for adapters in ([self._bed.adapters[0]], [self._bed.adapters[-1]], []):
            self.one.apply(adapters)
            spec = self._bed.spec(max(self._bed.scale.pixels), 0)
            made.append(self.one.generate(spec, lambda _: None).pictures[0].image.tobytes())
        return made


def tensors(engine: DiffusersEngine) -> Iterator[torch.Tensor]:
    """All parameters and buffers."""
    return tensors_of(models_of(engine._pipe).values())


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """True if their bits are."""
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[one.itemsize]
    return torch.equal(one.view(bits), other.view(bits))


def recordings(engine: DiffusersEngine) -> int:
    """Steps that the engine has recorded."""
    return engine._graphs.count if engine._graphs else 0


def reserved() -> float:
    """The device's memory that this process holds, GB."""
    return torch.cuda.memory_reserved() / 1e9 if torch.cuda.is_available() else 0.0


def measure(bed: Bed, say: Callable[[str], object]) -> Part:
    """All of it as a table."""
    bases = Bases(bed)
    read = bases.reading()
    rows = [read, *bases.loading(read.gigabytes), bases.unet()]
    for row in rows:
        say(" ".join(row.cells()))
    returned, differences = bases.returning()
    rows += returned
    goals = [at_most(f"{what} that differ", n, 0) for what, n in differences._asdict().items()]
    if bed.device.type == "cuda":
        goals += _speeds(rows)
    figures = {"rows": [row.as_dict() for row in rows], **differences._asdict()}
    title = f"A base of {rows[-1].gigabytes:.2f} GB comes to the device, median and longest"
    columns = ("what", "GB", "ms", "longest", "GB/s")
    return Part(title, columns, [row.cells() for row in rows], figures, goals)


def _speeds(rows: Sequence[Row]) -> Sequence[Goal]:
    read, plain, parked, _, unet, base = rows[:6]
    shares = [(f"{row.what}: share of the rate of reading", row) for row in (plain, parked)]
    return [
        at_most("U-Net from host memory, ms", round(1000 * median(unet.took), 1), UNET_MS),
        at_most("whole base from host memory, ms", round(1000 * median(base.took), 1), BASE_MS),
        *(at_least(what, round(row.rate / read.rate, 2), LOAD_SHARE) for what, row in shares),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.bases", description=__doc__)
    parser.parse_args(argv)
    on_gpu = torch.cuda.is_available()
    console = Console(width=200)
    with tempfile.TemporaryDirectory(prefix="lorajobs-bench-") as folder:
        scale: Scale = (FULL if on_gpu else SMALL)._replace(steps=STEPS)
        bed = Bed(scale, torch.device("cuda" if on_gpu else "cpu"), Path(folder))
        made = measure(bed, console.print)
    show(made, console)
    show_goals(made.goals, console)
    last = {**made.figures, "targets": [goal.as_dict() for goal in made.goals]}
    console.out(json.dumps(last), highlight=False)
    return 0 if all(goal.met for goal in made.goals) else 1


if __name__ == "__main__":
    sys.exit(main())
