"""Tensors copied by several threads: all of them, to the bit, whatever their size."""

import pytest
import torch

from lorajobs.engine import ferry
from lorajobs.engine.ferry import Pair, copy_all

SMALL_LOAD = 64


@pytest.fixture(autouse=True)
def small_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ferry, "LOAD", SMALL_LOAD)


def pair(shape: tuple[int, ...], dtype: torch.dtype = torch.float16) -> Pair:
    source = torch.randn(shape).to(dtype)
    return torch.full_like(source, 7), source


def test_every_byte_comes_over_whatever_the_sizes() -> None:
    sizes = (1, 3, 31, 32, 33, 64, 1000, 0)
    pairs = [pair((n,)) for n in sizes]
    pairs += [pair((3, 5, 7, 2)), pair(()), pair((40,), torch.float32), pair((9,), torch.bfloat16)]
    pairs += [pair((11,), torch.bool), pair((5,), torch.int64)]
    copy_all(iter(pairs))
    for target, source in pairs:
        assert torch.equal(target, source)


def test_no_load_is_larger_than_a_thread_has_room_for() -> None:
    pairs = [pair((n,)) for n in (1, 3, 31, 32, 33, 64, 1000)]
    loads = [*ferry._loads(pairs)]
    sizes = [sum(len(part.source) for part in load) for load in loads]
    assert max(sizes) <= SMALL_LOAD
    assert sum(sizes) == sum(source.nbytes for _, source in pairs)
    assert len(loads) > 2 * len(pairs)


def test_what_is_no_row_of_bytes_comes_over_too() -> None:
    target, source = pair((4, 6))
    copy_all([(target.t(), source.t())])
    assert torch.equal(target, source)
    target, source = pair((4, 6))
    copy_all([(target[:, ::2], source[:, ::2])])
    assert torch.equal(target[:, ::2], source[:, ::2])
    assert (target[:, 1::2] == 7).all()


def test_what_does_not_fit_is_refused() -> None:
    for sizes in ((2, 3), (3, 2), (3, 1)):
        with pytest.raises(ValueError, match="do not fit"):
            copy_all([(torch.zeros(sizes[0]), torch.zeros(sizes[1]))])
