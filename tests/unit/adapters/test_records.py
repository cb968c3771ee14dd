"""The records of configured adapters, which are not asked for at each submit."""

from lorajobs.adapters.records import KEPT_S, Records
from lorajobs.adapters.registry import LoraRecord, MemoryLoraRegistry
from lorajobs.api_keys import NOBODY
from lorajobs.catalog import Catalog
from tests.jobs import an_adapter


class Registry(MemoryLoraRegistry):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def get(self, *names: str) -> LoraRecord | None:
        self.asked += 1
        return super().get(*names)


class Shelf:
    """Records whose clock the test turns."""

    def __init__(self) -> None:
        self.registry, self.now_s = Registry(), 100.0
        self.records = Records(Catalog.load(None), self.registry, lambda: self.now_s)

    def find(self, lora_id: str = "pixel") -> LoraRecord:
        record = self.records.find(lora_id, NOBODY)
        assert record
        return record


def test_a_configured_adapter_is_asked_for_once_in_a_while() -> None:
    shelf = Shelf()
    first = shelf.find()
    assert shelf.find() is first
    assert shelf.registry.asked == 1
    # As another process pins it.
    shelf.registry.put(first.model_copy(update={"adapter": an_adapter(), "state": "1"}))
    shelf.now_s += KEPT_S
    assert shelf.find().adapter == an_adapter()
    assert shelf.registry.asked == 2


def test_what_is_pinned_here_is_known_here_at_once() -> None:
    shelf = Shelf()
    shelf.records.pin(shelf.find().model_copy(update={"adapter": an_adapter()}))
    assert shelf.find().adapter == an_adapter()


def test_a_registered_adapter_is_asked_for_each_time() -> None:
    shelf = Shelf()
    assert shelf.records.find("mine", NOBODY) is None
    shelf.registry.put(LoraRecord(id="mine", source="hf:a/b", base="demo", adapter=an_adapter()))
    assert shelf.find("mine").adapter == an_adapter()
    assert shelf.registry.asked == 2
