"""An in-place rack on a few modules, adapters made up for it, and failures at chosen moments."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lorajobs.engine.arena import Arena, Slots
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.fuse import BatchedFuser, Work
from lorajobs.engine.host_cache import HostCache
from lorajobs.engine.inplace import InPlaceRack
from lorajobs.engine.layer import Dora, Full, Hadamard, Kronecker, Layer, LowRank, Parts
from lorajobs.engine.packer import Packer
from lorajobs.engine.placement import Placement
from lorajobs.engine.pool import Pool
from lorajobs.engine.products import Products
from lorajobs.errors import LoraNotApplied
from lorajobs.spec import AdapterUse
from tests.jobs import an_adapter

Components = Mapping[str, nn.Module]
KINDS = (LowRank, LowRank, LowRank, Hadamard, Kronecker, Full, Dora)


def modules(dtype: torch.dtype = torch.float32) -> dict[str, nn.Module]:
    """Two components with linear layers and convolutions, some of one shape; always the same."""
    torch.manual_seed(0)
    unet = nn.Sequential(
        *(nn.Linear(16, 24) for _ in range(4)),
        nn.Conv2d(8, 16, 3),
        nn.Conv2d(8, 16, 3),
        nn.Conv2d(16, 24, 1),
        nn.Linear(24, 16),
    )
    return {"unet": unet.to(dtype), "text_encoder": nn.Sequential(nn.Linear(16, 24)).to(dtype)}


def layer(kind: type[Layer], shape: Sequence[int], noise: random.Random) -> Layer:
    """A random layer of this kind for a weight of this shape."""
    dtype = noise.choice((torch.float32, torch.float16, torch.bfloat16))
    rank, out = noise.choice((1, 3, 4, 16, 20)), shape[0]

    def draw(*size: int) -> Tensor:
        return (torch.rand(size) - 0.5).to(dtype)

    strength = noise.choice((1.0, 0.5, 0.3))
    ones = (1,) * (len(shape) - 2)
    plain = LowRank(strength=strength, down=draw(rank, *shape[1:]), up=draw(out, rank, *ones))
    if kind is Hadamard:
        left, right = (draw(out, rank) for _ in "12"), (draw(rank, *shape[1:]) for _ in "12")
        (a1, a2), (b1, b2) = left, right
        return Hadamard(strength=strength, a1=a1, a2=a2, b1=b1, b2=b2)
    if kind is Kronecker and not (out % 2 or shape[1] % 2):
        return Kronecker(
            strength=strength, w1=draw(2, 2), w2=draw(out // 2, shape[1] // 2, *shape[2:])
        )
    if kind is Full:
        return Full(diff=draw(*shape))
    if kind is Dora:
        return Dora(direction=plain, magnitude=draw(out, *(1,) * (len(shape) - 1)) + 1)
    return plain


def parts(components: Components, seed: int) -> Parts:
    """An adapter of any kinds for some of the modules, the same for the same seed."""
    noise = random.Random(seed)
    torch.manual_seed(seed)
    found: dict[str, dict[str, Layer]] = {}
    for component, model in components.items():
        for path, module in model.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and noise.random() < 0.6:
                kind = noise.choice(KINDS) if seed % 2 else LowRank
                made = layer(kind, module.weight.shape, noise)
                found.setdefault(component, {})[path] = made
    return found


def adapter(seed: int, scale: float = 1.0) -> LocalAdapter:
    """The adapter that `Shelf` knows by this number."""
    sha256 = hashlib.sha256(str(seed).encode()).hexdigest()
    return LocalAdapter(
        AdapterUse(adapter=an_adapter(str(seed), sha256=sha256), scale=scale), Path()
    )


class Shelf:
    """Reads adapters made up from their number; number −1 is refused."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._made: dict[int, Parts] = {}
        self.reads = 0

    def read(self, wanted: LocalAdapter) -> Parts:
        """The adapter's layers.

        Raises: LoraNotApplied.
        """
        self.reads += 1
        seed = int(wanted.use.adapter.id)
        if seed < 0:
            raise LoraNotApplied("its file is broken")
        if seed not in self._made:
            self._made[seed] = parts(self._components, seed)
        return self._made[seed]

    def products(self, wanted: LocalAdapter) -> Products | None:
        """No header tells what these are."""
        return None


class Faulty(BatchedFuser):
    """Fails once, in the middle of writing, when told to."""

    left: int | None = None

    def expected(self, work: Work, slots: Slots) -> Tensor:
        """Raises: MemoryError, after as many chunks as `left` says."""
        if self.left is not None:
            if self.left == 0:
                self.left = None
                raise MemoryError("injected")
            self.left -= 1
        return super().expected(work, slots)


class Bed:
    """A rack with all of it at hand."""

    def __init__(self, components: Components, budget: int = 1 << 30) -> None:
        self.components = components
        self.shelf = Shelf(components)
        self.arena = Arena.of(components, twin_on_host=True)
        self.fuser = Faulty(self.arena)
        self.cache = HostCache(budget)
        packer = Packer(self.shelf, self.arena, Pool(0, pinned=False))
        self.rack = InPlaceRack(self.arena, self.fuser, self.cache, packer, Placement.HOST)

    def digest(self) -> str:
        """A hash of every weight."""
        digest = hashlib.sha256()
        for model in self.components.values():
            for name, value in sorted(model.state_dict().items()):
                digest.update(name.encode())
                digest.update(value.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def pointers(self) -> list[int]:
        """Where every parameter lies."""
        return [p.data_ptr() for model in self.components.values() for p in model.parameters()]

    def is_bare(self) -> bool:
        """True if every weight is pristine, to the bit."""
        return all(torch.equal(group.live, group.pristine) for group in self.arena.groups)
