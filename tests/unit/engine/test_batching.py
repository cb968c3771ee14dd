"""Pictures are made together where that was measured to pay, and nowhere else."""

from collections.abc import Callable

import pytest
import torch
from diffusers.models.autoencoders.vae import DecoderOutput

from lorajobs.engine.batching import BATCHES, LEAST_GAIN, SIZES, Batching, one_by_one
from lorajobs.errors import JobCanceled, OutOfMemory

SMALL, LARGE = (512, 512, True), (1024, 1024, True)


class Gpu:
    """A device whose steps take so long for so many pictures; notes what it was asked for."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self._seconds = seconds
        self.asked: list[int] = []

    def step_s(self, number: int) -> float:
        self.asked.append(number)
        return self._seconds(number)


def half_idle(number: int) -> float:
    """As an H200 at 512 px: 1.4 times the pictures a second by two, 1.8 by four, 2 by eight."""
    return {1: 0.0167, 2: 0.0238, 4: 0.0371, 8: 0.0668}[number]


def full(number: int) -> float:
    """As at 1024 px: 1.12 by two, 1.2 by eight."""
    return {1: 0.042, 2: 0.075, 4: 0.144, 8: 0.28}[number]


@pytest.mark.parametrize(
    ("count", "parts"),
    [(1, [1]), (2, [2]), (3, [2, 1]), (4, [4]), (5, [4, 1]), (6, [4, 2]), (7, [4, 2, 1]), (8, [8])],
)
def test_the_largest_batches_that_pay(count: int, parts: list[int]) -> None:
    gpu = Gpu(half_idle)
    assert list(Batching(allowed=True).parts(SMALL, count, gpu.step_s)) == parts
    # Each form once, and only those that are needed.
    assert sorted(gpu.asked) == ([] if count == 1 else sorted({1, *parts}))


def test_a_size_is_measured_once_and_for_itself() -> None:
    batching, gpu, slow = Batching(allowed=True), Gpu(half_idle), Gpu(full)
    assert batching.parts(SMALL, 4, gpu.step_s) == batching.parts(SMALL, 4, gpu.step_s) == [4]
    assert gpu.asked == [1, 4]
    assert batching.parts(LARGE, 4, slow.step_s) == [1, 1, 1, 1]
    assert batching.parts(SMALL, 4, gpu.step_s) == [4]
    assert gpu.asked == [1, 4]


def test_what_a_large_batch_does_not_bring_no_smaller_one_is_asked_for() -> None:
    batching, gpu = Batching(allowed=True), Gpu(full)
    assert list(batching.parts(LARGE, 8, gpu.step_s)) == [1] * 8
    assert list(batching.parts(LARGE, 3, gpu.step_s)) == [1] * 3
    assert gpu.asked == [1, 8]


def test_the_gain_at_which_it_pays() -> None:
    just = Gpu(lambda number: number / LEAST_GAIN if number > 1 else 1.0)
    assert Batching(allowed=True).parts(SMALL, 2, just.step_s) == [2]
    less = Gpu(lambda number: number / LEAST_GAIN + 0.001 if number > 1 else 1.0)
    assert Batching(allowed=True).parts(SMALL, 2, less.step_s) == [1, 1]


def test_a_batch_without_memory_leaves_the_smaller_ones() -> None:
    def short(number: int) -> float:
        if number == 8:
            raise OutOfMemory("8 do not fit")
        return half_idle(number)

    batching, gpu = Batching(allowed=True), Gpu(short)
    assert batching.parts(SMALL, 8, gpu.step_s) == [4, 4]
    assert batching.parts(SMALL, 8, gpu.step_s) == [4, 4]
    assert gpu.asked.count(8) == 1


def test_after_a_job_ran_out_of_memory_its_size_is_made_singly() -> None:
    batching, gpu = Batching(allowed=True), Gpu(half_idle)
    assert batching.parts(SMALL, 2, half_idle) == [2]
    assert batching.give_up(SMALL)
    # Then it made single pictures already.
    assert not batching.give_up(SMALL)
    assert not Batching(allowed=False).give_up(SMALL)
    assert batching.parts(SMALL, 3, gpu.step_s) == [1, 1, 1]
    assert gpu.asked == []
    assert batching.parts(LARGE, 2, gpu.step_s) == [2]


def test_a_job_that_ends_while_it_is_measured_leaves_nothing_behind() -> None:
    def canceled(number: int) -> float:
        raise JobCanceled

    batching = Batching(allowed=True)
    with pytest.raises(JobCanceled):
        batching.parts(SMALL, 2, canceled)
    assert batching.parts(SMALL, 2, half_idle) == [2]


def test_never_measures_nothing() -> None:
    gpu = Gpu(half_idle)
    assert list(Batching(allowed=False).parts(SMALL, 8, gpu.step_s)) == [1] * 8
    assert gpu.asked == []


def test_only_so_many_sizes_are_remembered() -> None:
    batching, gpu = Batching(allowed=True), Gpu(half_idle)
    for size in range(SIZES + 1):
        batching.parts(size, 2, half_idle)
    batching.parts(1, 2, gpu.step_s)
    assert gpu.asked == []
    batching.parts(0, 2, gpu.step_s)
    assert gpu.asked == [1, 2]


def test_batches_are_tried_from_the_largest() -> None:
    assert list(BATCHES) == sorted(BATCHES, reverse=True)


def test_a_decoder_sees_one_picture_at_a_time() -> None:
    seen: list[int] = []

    def decode(latents: torch.Tensor, return_dict: bool = True) -> object:
        seen.append(len(latents))
        return DecoderOutput(latents + 1) if return_dict else (latents + 1,)

    decoded, latents = one_by_one(decode), torch.arange(6.0).reshape(3, 2)
    (pictures,) = decoded(latents, return_dict=False)
    assert torch.equal(pictures, latents + 1)
    assert torch.equal(decoded(latents).sample, latents + 1)
    assert torch.equal(decoded(latents[:1]).sample, latents[:1] + 1)
    assert seen == [1] * 7
