"""Which placement a base gets."""

import pytest

from lorajobs.engine.placement import Memory, Placement, choose
from lorajobs.errors import BaseLoadFailed

GB = 10**9
SDXL = 6_560_000_000


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (Memory(gpu=130 * GB, host=100 * GB), Placement.GPU),
        (Memory(gpu=16 * GB, host=100 * GB), Placement.GPU),
        (Memory(gpu=9 * GB, host=100 * GB), Placement.HOST),
        (Memory(gpu=9 * GB, host=7 * GB), Placement.UNFUSED),
        (Memory(gpu=None, host=1), Placement.HOST),
    ],
)
def test_the_fastest_that_fits(free: Memory, expected: Placement) -> None:
    assert choose("auto", None, SDXL, free) is expected


@pytest.mark.parametrize("asked", ["gpu", "host", "unfused"])
def test_an_operator_decides(asked: str) -> None:
    assert choose(asked, None, SDXL, Memory(gpu=GB, host=GB)) == asked


def test_a_quantised_base_is_served_unfused() -> None:
    free = Memory(gpu=130 * GB, host=100 * GB)
    assert choose("auto", "unet is quantised", 0, free) is Placement.UNFUSED
    with pytest.raises(BaseLoadFailed, match='placement = "gpu": unet is quantised'):
        choose("gpu", "unet is quantised", 0, free)


def test_a_cpu_has_no_memory_of_a_gpu() -> None:
    with pytest.raises(BaseLoadFailed, match="computes on the CPU"):
        choose("gpu", None, SDXL, Memory(gpu=None, host=100 * GB))
