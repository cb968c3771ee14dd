"""The NVIDIA GPUs of this machine, found without torch, and what a worker on one of them gets."""

import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from lorajobs.errors import ConfigError
from lorajobs.settings import Settings

QUERY = ("nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader")
#: A driver that is not kept loaded takes seconds for each GPU.
QUERY_S = 60.0
#: What ends the list in CUDA_VISIBLE_DEVICES.
_NONE = frozenset({"", "-1", "NoDevFiles"})
_WAY_OUT = (
    "install the driver or give the container its GPUs, or leave --gpus out to run one worker "
    "on whatever device there is"
)


class Gpu(NamedTuple):
    """One GPU as the driver describes it."""

    #: as nvidia-smi counts, by PCI bus
    number: int
    #: None where the driver tells none
    uuid: str | None
    name: str
    #: with its unit, such as `143771 MiB`
    memory: str

    @property
    def visible_as(self) -> str:
        """How CUDA_VISIBLE_DEVICES names it; CUDA's own numbers go by speed, not by PCI bus."""
        return self.uuid or str(self.number)


def chosen(asked: str | None, settings: Settings) -> Sequence[Gpu]:
    """The GPUs that `--gpus` means: `all`, or numbers such as `0,2`; none if it was not given.

    Those that CUDA_VISIBLE_DEVICES hides do not exist.
    Raises: ConfigError naming the way out.
    """
    if asked is None:
        return []
    found = _visible(_installed(), settings.cuda_visible_devices)
    if asked == "all":
        return found
    words = [word.strip() for word in asked.split(",")]
    if not all(word.isdecimal() for word in words):
        raise ConfigError(f"--gpus {asked}: give `all`, or numbers such as 0,2")
    numbers = [int(word) for word in words]
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"--gpus {asked}: a GPU is named twice, and each gets one worker")
    by_number = {gpu.number: gpu for gpu in found}
    for number in numbers:
        if number not in by_number:
            raise ConfigError(
                f"--gpus {asked}: there is no GPU {number}"
                f"{_because(settings.cuda_visible_devices)}; there is {_numbers(found)}"
            )
    return [by_number[number] for number in numbers]


def shares(settings: Settings, gpus: Sequence[Gpu]) -> Sequence[Settings]:
    """The settings of one worker for each of these; what the workers divide is divided here.

    Two workers of different bases may name the same GPU.
    Raises: ConfigError.
    """
    # Unset means the best there is, and asked for is a GPU: never a CPU in its place.
    device = settings.device or "cuda"
    if ":" in device:
        raise ConfigError(
            f"LORAJOBS_DEVICE={device}: with --gpus each worker sees its own GPU alone; unset it"
        )
    common = {
        "device": device,
        "host_cache_mb": settings.host_cache_mb // len(gpus),
        "parked_mb": settings.parked_mb // len(gpus),
    }
    return [
        settings.model_copy(update={**common, "cuda_visible_devices": gpu.visible_as})
        for gpu in gpus
    ]


def _installed() -> Sequence[Gpu]:
    try:
        asked = subprocess.run(
            QUERY, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=QUERY_S
        )
    except FileNotFoundError:
        raise ConfigError(f"--gpus: nvidia-smi is not on the PATH: {_WAY_OUT}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"--gpus: {error}: {_WAY_OUT}") from error
    if asked.returncode:
        said = " ".join((asked.stdout + asked.stderr).split())
        raise ConfigError(
            f"--gpus: nvidia-smi failed (exit status {asked.returncode}): {said}: {_WAY_OUT}"
        )
    found = [_parsed(line) for line in asked.stdout.splitlines() if line.strip()]
    if not found:
        raise ConfigError(f"--gpus: nvidia-smi lists no GPU: {_WAY_OUT}")
    return sorted(found)


def _parsed(line: str) -> Gpu:
    try:
        number, uuid, rest = line.split(", ", 2)
        name, memory = rest.rsplit(", ", 1)
        return Gpu(int(number), uuid if uuid.startswith("GPU-") else None, name, memory)
    except ValueError as error:
        raise ConfigError(f"--gpus: nvidia-smi said what is not understood: {line}") from error


def _visible(found: Sequence[Gpu], setting: str | None) -> Sequence[Gpu]:
    if setting is None:
        return found
    named = set()
    for word in (word.strip() for word in setting.split(",")):
        if word in _NONE:
            break
        # CUDA takes the beginning of a UUID for the whole.
        matches = [g for g in found if word == str(g.number) or (g.uuid or "").startswith(word)]
        if len(matches) != 1:
            raise ConfigError(
                f"CUDA_VISIBLE_DEVICES={setting}: {word} is not one of the GPUs {_numbers(found)};"
                " a part of a GPU (MIG) gets its worker without --gpus"
            )
        named.add(matches[0])
    if not named:
        raise ConfigError(
            f"--gpus: no GPU is left{_because(setting)}: unset it, or leave --gpus out"
        )
    return sorted(named)


def _because(setting: str | None) -> str:
    return "" if setting is None else f" with CUDA_VISIBLE_DEVICES={setting}"


def _numbers(gpus: Sequence[Gpu]) -> str:
    return ", ".join(str(gpu.number) for gpu in gpus)
