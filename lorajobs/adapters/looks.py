"""What was found at a path on the server, for as long as nothing there looks different."""

import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

#: Nanoseconds; what changed so lately may change again within one tick of the file system's clock.
SETTLED_NS = 1_000_000_000


class Found(NamedTuple):
    """What a look at a path found."""

    #: names of the files that make up the adapter, relative to the folder that was listed
    files: Sequence[str]
    #: another text once one of them changed
    state: str | None
    #: False if other folders were listed too
    is_flat: bool


class _Known(NamedTuple):
    paths: Sequence[str]
    stamps: Sequence[tuple[int, ...]]
    state: str | None


class Looks:
    """Spares the listing of a folder at each submit: a few `stat` tell whether it is due."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """`clock_ns` gives Unix nanoseconds, as files have them."""
        self._clock_ns = clock_ns
        self._known: dict[tuple[str, str | None], _Known] = {}

    def state(self, path: str, weight_name: str | None, look: Callable[[], Found]) -> str | None:
        """The state that `look` finds, or found when all was as it is now.

        Raises: OSError, and what `look` raises.
        """
        key = path, weight_name
        known = self._known.get(key)
        if known and _stamps(known.paths) == known.stamps:
            return known.state
        self._known.pop(key, None)
        begun_ns = self._clock_ns()
        found = look()
        # Links in the path as it is given are followed each time, so that a new target is seen.
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        paths = [folder, path, *(os.path.join(folder, name) for name in found.files)]
        stamps = _stamps(paths)
        newest_ns = max((max(stamp[:2]) for stamp in stamps), default=begun_ns)
        if found.is_flat and newest_ns < begun_ns - SETTLED_NS:
            self._known[key] = _Known(paths, stamps, found.state)
        return found.state


def _stamps(paths: Sequence[str]) -> Sequence[tuple[int, ...]]:
    """Times, size and number of each; none if one is not there."""
    try:
        return [(s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino) for s in map(os.stat, paths)]
    except OSError:
        return []
