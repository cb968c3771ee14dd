"""What is written on this device against the mathematics in float64, weight by weight."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from bench import sdxl
from bench.report import Part, at_least, at_most
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.fuse import BatchedFuser
from lorajobs.engine.inplace import InPlaceRack
from lorajobs.engine.racks import open_rack
from lorajobs.errors import BaseCorrupt

PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)
_COMPONENTS = ("unet", "text_encoder", "text_encoder_2")
#: Ranks of the adapters: whole steps of the kernel, filled up ones, and more than one step.
_RANKS = (4, 16, 20, 64, 144)
#: Adapters by number with their scales: runs, tables, a negative scale, none.
_SETS: Sequence[Mapping[int, float]] = (
    {0: 1.0},
    {1: 0.8},
    {2: -0.6},
    {3: 1.0},
    {4: 0.5},
    {0: 1.0, 3: -0.5},
    {0: 0.3, 1: 0.3, 2: 0.3, 3: 0.3, 4: 0.3},
    {},
)
#: A sample is drawn each time, so one flipped bit of all weights needs many.
_LOOKS = 5_000


class _Base:
    """A small base with every kind of weight, and adapters of which each leaves some alone."""

    def __init__(self, dtype: torch.dtype, device: torch.device, folder: Path) -> None:
        self.pipe = sdxl.pipeline(sdxl.SMALL, device, dtype)
        self.twin = sdxl.pipeline(sdxl.SMALL, device, dtype)
        rack = open_rack(self.pipe, device, "auto", 1 << 28)
        assert isinstance(rack, InPlaceRack)
        self.rack = rack
        shapes = {
            f"{component}.{path}": module.weight.shape
            for component in _COMPONENTS
            for path, module in getattr(self.pipe, component).named_modules()
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
        }
        self.weights = list(shapes)
        self.files = []
        self._states = []
        for number, rank in enumerate(_RANKS):
            path = folder / f"{dtype}-{rank}.safetensors"
            chosen = {n: s for i, (n, s) in enumerate(shapes.items()) if i % 7 != number}
            sdxl.adapter_file(path, chosen, rank, number, device)
            self.files.append(path)
            self._states.append(load_file(path, str(device)))

    def adapters(self, scales: Mapping[int, float]) -> list[LocalAdapter]:
        """One set of adapters."""
        return [sdxl.local(self.files[number], scale) for number, scale in scales.items()]

    def written(self, name: str) -> Tensor:
        """A weight as it is now."""
        return _weight(self.pipe, name)

    def exact(self, name: str, scales: Mapping[int, float]) -> Tensor:
        """What it should be, float64."""
        total = _weight(self.twin, name).double()
        for number, scale in scales.items():
            state = self._states[number]
            if f"{name}.lora_A.weight" in state:
                down, up = (state[f"{name}.lora_{side}.weight"].double() for side in "AB")
                total += scale * (up.flatten(1) @ down.flatten(1)).view(total.shape)
        return total


def checked(dtype: torch.dtype, device: torch.device) -> Part:
    """Every set on, against float64 and against the batched reference; then the canary."""
    outside = differing = total = adapted = 0
    with tempfile.TemporaryDirectory() as folder:
        base = _Base(dtype, device, Path(folder))
        for scales in _SETS:
            # Twice with another between: once by the strict way, once by the quick one.
            for first in (True, False):
                base.rack.activate(base.adapters(scales))
                if first:
                    written = {name: base.written(name).clone() for name in base.weights}
                    base.rack.activate([])
                    base.rack.forget()
            outside += sum(_outside(base.written(n), base.exact(n, scales)) for n in base.weights)
            outside += sum(not torch.equal(w, base.written(n)) for n, w in written.items())
            adapted += bool(scales)
            reference = _by_reference(base, scales)
            differing += sum(int((written[n] != reference[n]).sum()) for n in base.weights)
            total += sum(weight.numel() for weight in reference.values())
        found = _canary(base)
        exact = sdxl.equal(base.pipe, base.twin, _COMPONENTS)
    name = str(dtype).removeprefix("torch.")
    figures = {
        f"outside_{name}": outside,
        f"one_step_off_reference_{name}": differing / total,
        f"canary_{name}": found,
        f"restored_{name}": float(exact),
    }
    goals = [
        at_most(f"{name}: weights further than one rounding from float64", outside, 0),
        at_least(f"{name}: the canary is quiet, then finds one flipped bit", found, 1),
        at_least(f"{name}: base bit-exact afterwards", float(exact), 1),
    ]
    rows = [(key, f"{value:g}") for key, value in figures.items()]
    return Part(f"Exact in {name}, {adapted} sets", ("figure", ""), rows, figures, goals)


def _outside(got: Tensor, exact: Tensor) -> int:
    """Weights that are not the exact sum rounded once, a little of float32's sums aside."""
    step = torch.finfo(got.dtype).eps * exact.abs()
    return int(((got.double() - exact).abs() > 0.51 * step + 2e-6).sum())


def _by_reference(base: _Base, scales: Mapping[int, float]) -> dict[str, Tensor]:
    quick = base.rack.fuser
    base.rack.activate([])
    base.rack.fuser = BatchedFuser(base.rack.arena)
    base.rack.activate(base.adapters(scales))
    made = {name: base.written(name).clone() for name in base.weights}
    base.rack.activate([])
    base.rack.fuser = quick
    return made


def _canary(base: _Base) -> float:
    """1 if it says nothing of sound weights and finds one flipped bit, adapted and bare."""
    for scales in ({3: 0.7}, {0: 0.5, 3: 0.5}, {}):
        base.rack.activate(base.adapters(scales))
        for _ in range(50):
            base.rack.check()
        weight = base.written(base.weights[len(base.weights) // 2])
        bits = weight.view(torch.int32 if weight.itemsize == 4 else torch.int16)
        bits.view(-1)[0] ^= 1
        if not _is_found(base.rack):
            return 0.0
        bits.view(-1)[0] ^= 1
    return 1.0


def _is_found(rack: InPlaceRack) -> bool:
    for _ in range(_LOOKS):
        try:
            rack.check()
        except BaseCorrupt:
            return True
    return False


def _weight(pipe: object, name: str) -> Tensor:
    component, _, path = name.partition(".")
    weight: Tensor = getattr(pipe, component).get_submodule(path).weight
    return weight.detach()
