"""What `lorajobs selftest` does on a machine that is to serve a base, and what it expects.

Exactness has one right answer everywhere. Speed has not: a swap is compared with a step of the same
machine, a recorded step with an eager one, and only on a GPU.
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.trial import Trial, opened, peak_bytes
from lorajobs.errors import BaseCorrupt
from lorajobs.settings import Settings

#: Steps of a timed picture; of one that is only compared.
STEPS, FEW_STEPS = 10, 3
#: A swap from host memory over a step of the default size: 0.1 on an H200 with SDXL.
SWAP_OVER_STEP = 1.0
#: A recorded step over an eager one: 0.2 to 0.7 there, towards 1 on GPUs that are always busy.
GRAPH_OVER_EAGER = 1.05


class Verdict(NamedTuple):
    """One line: whether it is as expected, None where nothing is expected of it."""

    passed: bool | None
    text: str
    hint: str = ""


def selftest(
    entry: ModelEntry, settings: Settings, adapter: LocalAdapter | None, folder: Path
) -> Iterator[Verdict]:
    """Loads the base and tries it; without an adapter one is made in the folder.

    Raises: BaseLoadFailed, LoraRefused, LoraNotApplied, OutOfMemory, EngineFailed, DeviceFault.
    """
    trial, load_s = opened(entry, settings)
    yield Verdict(None, f"loaded in {load_s:.1f} s: {trial.engine.described()}")
    adapter = adapter or trial.engine.made_up(folder)
    yield from exactness(trial, entry, adapter)
    yield from _speed(trial, entry, adapter)
    trial.engine.close()
    if trial.engine.on_cuda and entry.speed != "eager":
        yield from _recording(trial, entry, settings)
    if peak := peak_bytes():
        most, total = (count / 2**30 for count in peak)
        yield Verdict(None, f"GPU memory: {most:.1f} of {total:.1f} GiB at the most")


def exactness(trial: Trial, entry: ModelEntry, adapter: LocalAdapter) -> Iterator[Verdict]:
    """Puts the adapter on and takes it off; weights and pictures have one right answer."""
    size, _ = _sizes(entry)
    engine, name = trial.engine, adapter.use.adapter.id
    weights = engine.fingerprint()
    bare = trial.picture(size, FEW_STEPS).pixels
    again = trial.picture(size, FEW_STEPS).pixels
    yield Verdict(bare == again, "the same request makes the same picture", "see the GPU's memory")
    first_s = trial.swap_s([adapter])
    (applied,) = engine.applied()
    told = f"adapter {name}: rank {applied.rank} in {applied.modules} modules"
    yield Verdict(bool(applied.modules), f"{told}, first put on in {1000 * first_s:.1f} ms")
    yield _checked(trial, "with the adapter, weights are base + adapter to the bit")
    changed = trial.picture(size, FEW_STEPS).pixels != bare
    hint = "the adapter does nothing: try another, or `lorajobs check` it"
    yield Verdict(changed, "the adapter changes the picture", hint)
    trial.swap_s([])
    yield _checked(trial, "without it, a sample of the weights is the base's to the bit")
    hint = "something writes into the weights: test the memory (`nvidia-smi -q -d ECC`), report it"
    yield Verdict(engine.fingerprint() == weights, "all weights are as they were loaded", hint)
    after = trial.picture(size, FEW_STEPS).pixels
    yield Verdict(after == bare, "the bare picture is the same as before", hint)


def _speed(trial: Trial, entry: ModelEntry, adapter: LocalAdapter) -> Iterator[Verdict]:
    swap_s = median(trial.swaps_s(adapter))
    if not trial.engine.on_cuda:
        small, _ = _sizes(entry)
        told = trial.picture(small, FEW_STEPS)
        text = f"swap {1000 * swap_s:.1f} ms; {small} px: step {1000 * told.step_s:.0f} ms"
        yield Verdict(None, f"{text}; on {trial.engine.described()} no speed is expected")
        return
    step_s = 0.0
    for size in _sizes(entry):
        # The first of a size records it.
        trial.picture(size, FEW_STEPS)
        told = trial.picture(size, STEPS)
        step_s = told.step_s
        text = f"{size} px: step {1000 * step_s:.1f} ms, {STEPS} steps {told.picture_s:.2f} s"
        yield Verdict(None, text)
    ratio = swap_s / step_s
    text = f"swap {1000 * swap_s:.1f} ms, {ratio:.2f} of a step (at most {SWAP_OVER_STEP:g})"
    hint = "placement `gpu` or `auto` if the base fits twice; a PCIe link of full width; Triton"
    yield Verdict(ratio <= SWAP_OVER_STEP, text, hint)


def _recording(trial: Trial, entry: ModelEntry, settings: Settings) -> Iterator[Verdict]:
    """Recorded steps beside eager ones, each by an engine of its own."""
    size, _ = _sizes(entry)
    made = []
    for speed in (entry.speed, "eager"):
        other, _ = opened(entry.model_copy(update={"speed": speed}), settings)
        other.picture(size, FEW_STEPS)
        made.append(other.picture(size, STEPS))
        other.engine.close()
    fast, eager = made
    ratio = fast.step_s / eager.step_s
    text = f"{size} px: a step is {ratio:.2f} of an eager one (at most {GRAPH_OVER_EAGER:g})"
    hint = "raise LORAJOBS_GRAPH_MEMORY_MB; the log says why steps are not recorded"
    yield Verdict(ratio <= GRAPH_OVER_EAGER, text, hint)
    if entry.speed == "auto":
        same = fast.pixels == eager.pixels
        yield Verdict(same, "recorded and eager steps make the same picture", "report it")


def _checked(trial: Trial, text: str) -> Verdict:
    try:
        trial.check()
    except BaseCorrupt as error:
        return Verdict(False, f"{text}: {error.detail}", "report it, with this output")
    return Verdict(True, text)


def _sizes(entry: ModelEntry) -> tuple[int, int]:
    """A small size and the usual one, in pixels."""
    limits, usual = entry.limits, entry.defaults.width
    step = limits.multiple_of
    half = max(limits.min_size, usual // 2)
    return -(-half // step) * step, usual
