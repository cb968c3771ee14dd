"""Real implementations in memory, for tests of programs that use lorajobs."""

from lorajobs.testing.clock import ManualClock
from lorajobs.testing.memory_awaited import MemoryAwaited
from lorajobs.testing.memory_images import MemoryImages
from lorajobs.testing.memory_keys import MemoryApiKeys
from lorajobs.testing.memory_listeners import MemoryListeners
from lorajobs.testing.memory_store import MemoryJobStore
from lorajobs.testing.memory_tally import MemoryTally
from lorajobs.testing.memory_watch import MemoryWatch

__all__ = [
    "ManualClock",
    "MemoryApiKeys",
    "MemoryAwaited",
    "MemoryImages",
    "MemoryJobStore",
    "MemoryListeners",
    "MemoryTally",
    "MemoryWatch",
]
