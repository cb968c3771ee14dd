"""What becomes of an adapter that cannot be applied."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.paint import PaintEngine
from lorajobs.errors import LoraFetchFailed, LoraNotApplied
from lorajobs.faults import Faults
from lorajobs.jobs import JobWarning
from lorajobs.lora_errors import LoraWrongFamily
from tests.jobs import use


def adapters(folder: Path, *names: str) -> Sequence[LocalAdapter]:
    """Adapters with a file each, except for those called `gone`."""
    made = [LocalAdapter(use(name), folder / name) for name in names]
    for adapter in made:
        if adapter.use.adapter.id != "gone":
            adapter.path.write_bytes(b"weights")
    return made


def test_one_that_is_to_fail_fails(tmp_path: Path) -> None:
    warnings: list[JobWarning] = []
    faults = Faults("fail", warnings)
    asked = adapters(tmp_path, "good", "gone")
    # Nothing is tried beforehand: the engine itself refuses.
    assert faults.without(asked, PaintEngine()) == asked
    with pytest.raises(LoraWrongFamily), faults.skipped():
        raise LoraWrongFamily("another family")
    assert warnings == []


def test_one_that_is_to_be_skipped_is_left_out_with_a_warning(tmp_path: Path) -> None:
    warnings: list[JobWarning] = []
    faults = Faults("skip", warnings)
    good, _, other = adapters(tmp_path, "good", "gone", "other")
    engine = PaintEngine()
    fit = faults.without(adapters(tmp_path, "good", "gone", "other"), engine)
    assert fit == [good, other]
    assert [a.id for a in engine.apply(fit)] == ["good", "other"]
    (warning,) = warnings
    assert warning.code == "lora_skipped"
    assert "gone" in warning.detail
    assert warning.detail.endswith("(lora_not_applied)")


@pytest.mark.parametrize("error", [LoraFetchFailed("the hub is away"), OSError("disk")])
def test_what_may_pass_is_no_fault_of_the_adapter(error: Exception) -> None:
    warnings: list[JobWarning] = []
    with pytest.raises(type(error)), Faults("skip", warnings).skipped():
        raise error
    with Faults("skip", warnings).skipped():
        raise LoraNotApplied("no trace of it")
    assert [warning.code for warning in warnings] == ["lora_skipped"]
