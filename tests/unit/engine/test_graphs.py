"""Steps are recorded by the form of their arguments; tested with recordings that work on a CPU."""

from collections.abc import Callable
from typing import TypeVar

import pytest
import torch

from lorajobs.engine.graphs import AGAIN, Graphs, Recording

T = TypeVar("T")
CPU = torch.device("cpu")
MIB = 1 << 20


class Tape:
    """Does the work again, and writes what comes of it where the first results lie."""

    def __init__(self, work: Callable[[], object], results: object, size: int) -> None:
        self._work = work
        self._results = results
        self.bytes = size
        self.released = False

    def replay(self) -> None:
        assert not self.released
        assert isinstance(self._results, tuple)
        made = self._work()
        assert isinstance(made, tuple)
        for held, new in zip(self._results, made, strict=True):
            held.copy_(new)

    def release(self) -> None:
        self.released = True


class TapeRecorder:
    """Records on the CPU."""

    def __init__(self, size: int = MIB) -> None:
        self.size = size
        self.tapes: list[Tape] = []

    def record(self, work: Callable[[], T]) -> tuple[Recording, T]:
        made = work()
        tape = Tape(work, made, self.size)
        self.tapes.append(tape)
        return tape, made


class Doubler:
    """A forward with arguments as a denoiser has them."""

    def __init__(self) -> None:
        self.calls = 0
        self.weight = torch.tensor(2.0)

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        *,
        added: dict[str, torch.Tensor] | None = None,
        return_dict: bool = True,
    ) -> object:
        self.calls += 1
        made = sample * self.weight + timestep + sum((added or {}).values())
        return {"sample": made} if return_dict else (made,)


def step(graphs: Graphs, width: int = 4, fill: float = 1.0, **more: object) -> torch.Tensor:
    given = (torch.full((1, width), fill), torch.tensor(3.0))
    (made,) = graphs(*given, return_dict=False, **more)
    assert isinstance(made, torch.Tensor)
    return made


@pytest.fixture
def forward() -> Doubler:
    return Doubler()


@pytest.fixture
def recorder() -> TapeRecorder:
    return TapeRecorder()


@pytest.fixture
def graphs(forward: Doubler, recorder: TapeRecorder) -> Graphs:
    return Graphs(forward, recorder, CPU, 2 * MIB)


def test_a_replay_reads_what_it_is_given_and_the_weights_of_now(
    graphs: Graphs, forward: Doubler, recorder: TapeRecorder
) -> None:
    assert step(graphs, fill=1.0).tolist() == [[5.0] * 4]
    assert step(graphs, fill=2.0).tolist() == [[7.0] * 4]
    forward.weight.fill_(10.0)
    assert step(graphs, fill=2.0).tolist() == [[23.0] * 4]
    assert len(recorder.tapes) == 1


def test_a_result_outlives_the_next_step(graphs: Graphs) -> None:
    first = step(graphs, fill=1.0)
    step(graphs, fill=2.0)
    assert first.tolist() == [[5.0] * 4]


def test_each_form_has_a_recording_of_its_own(graphs: Graphs, recorder: TapeRecorder) -> None:
    assert step(graphs, 4, added={"a": torch.ones(1, 4)}).tolist() == [[6.0] * 4]
    assert step(graphs, 4).tolist() == [[5.0] * 4]
    assert step(graphs, 4, added={"a": torch.ones(1)}).tolist() == [[6.0] * 4]
    assert step(graphs, 4, added={}).tolist() == [[5.0] * 4]
    assert len(recorder.tapes) == 4


def test_the_one_not_used_for_longest_goes_first(graphs: Graphs, recorder: TapeRecorder) -> None:
    for width in (1, 2, 1, 3):
        step(graphs, width)
    assert [tape.released for tape in recorder.tapes] == [False, True, False]
    assert graphs.count == 2


def test_what_alone_is_too_large_runs_without(forward: Doubler) -> None:
    recorder = TapeRecorder(3 * MIB)
    graphs = Graphs(forward, recorder, CPU, 2 * MIB)
    assert step(graphs).tolist() == [[5.0] * 4]
    assert step(graphs).tolist() == [[5.0] * 4]
    assert [tape.released for tape in recorder.tapes] == [True]
    assert graphs.count == 0


class Broken(TapeRecorder):
    """Cannot record, as a GPU cannot when the work waits for it."""

    error: Exception = RuntimeError("operation not permitted when stream is capturing")

    def record(self, work: Callable[[], T]) -> tuple[Recording, T]:
        self.tapes.append(Tape(work, None, 0))
        raise self.error


def test_what_cannot_be_recorded_is_tried_once(forward: Doubler) -> None:
    recorder = Broken()
    graphs = Graphs(forward, recorder, CPU, 2 * MIB)
    assert [step(graphs).tolist() for _ in range(3)] == [[[5.0] * 4]] * 3
    assert len(recorder.tapes) == 1


def test_without_memory_all_recordings_go(forward: Doubler, recorder: TapeRecorder) -> None:
    class Full(TapeRecorder):
        def record(self, work: Callable[[], T]) -> tuple[Recording, T]:
            if recorder.tapes:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return recorder.record(work)

    graphs = Graphs(forward, Full(), CPU, 2 * MIB)
    step(graphs, 1)
    assert step(graphs, 2).tolist() == [[5.0] * 2]
    assert graphs.count == 0
    assert recorder.tapes[0].released
    # There may be some again: tried after so many steps, not before.
    recorder.tapes.clear()
    for _ in range(AGAIN):
        assert step(graphs, 2).tolist() == [[5.0] * 2]
    assert not recorder.tapes
    assert step(graphs, 2).tolist() == [[5.0] * 2]
    assert step(graphs, 2).tolist() == [[5.0] * 2]
    assert len(recorder.tapes) == graphs.count == 1


def test_a_model_output_is_not_recorded(graphs: Graphs, forward: Doubler) -> None:
    for _ in range(2):
        made = graphs(torch.ones(1, 4), torch.tensor(3.0))
        assert made["sample"].tolist() == [[5.0] * 4]
    assert graphs.count == 0


def test_arguments_of_unknown_kinds_are_passed_on(graphs: Graphs, recorder: TapeRecorder) -> None:
    step(graphs)
    with pytest.raises(TypeError):
        step(graphs, added={"a": object()})
    assert len(recorder.tapes) == 1


def test_a_step_that_fails_fails_as_it_would_without(graphs: Graphs) -> None:
    with pytest.raises(TypeError, match="strange"):
        graphs(torch.ones(1), torch.ones(1), strange=1)


def test_released_ones_are_recorded_again(graphs: Graphs, recorder: TapeRecorder) -> None:
    step(graphs)
    graphs.release()
    assert graphs.count == 0
    assert step(graphs).tolist() == [[5.0] * 4]
    assert len(recorder.tapes) == 2
