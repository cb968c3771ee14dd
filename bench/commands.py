"""What a Valkey or Redis is asked, counted by the server itself: `INFO commandstats`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from bench.cpu import clock_of, computed_ms

#: Those that only measure.
_OWN = frozenset({"info", "config", "client", "hello", "auth", "select", "script", "ping"})


class Load(NamedTuple):
    """What the server did between two looks."""

    #: by name, those inside scripts included
    calls: Mapping[str, int]
    #: computed by the whole process
    cpu_ms: float

    @property
    def all(self) -> int:
        """Commands, those inside scripts included."""
        return sum(self.calls.values())

    @property
    def scripts(self) -> int:
        """Scripts that were run."""
        return self.calls.get("evalsha", 0) + self.calls.get("eval", 0)

    def less(self, other: "Load", times: float = 1.0) -> "Load":
        """What is left without so many times the other."""
        names = {*self.calls, *other.calls}
        left = {n: round(self.calls.get(n, 0) - times * other.calls.get(n, 0)) for n in names}
        return Load(
            {n: max(0, count) for n, count in left.items()}, self.cpu_ms - times * other.cpu_ms
        )


class Server:
    """One server, looked at again and again."""

    def __init__(self, client: Any, pid: int) -> None:  # noqa: ANN401
        self._client = client
        self._clock = clock_of(pid)

    def look(self) -> Load:
        """Everything since the server began."""
        rows: Mapping[str, Any] = self._client.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): int(row["calls"]) for name, row in rows.items()}
        kept = {name: count for name, count in calls.items() if name.split("|")[0] not in _OWN}
        return Load(kept, computed_ms([self._clock]))

    def memory(self) -> int:
        """Bytes of all that it holds."""
        return int(self._client.info("memory")["used_memory"])
