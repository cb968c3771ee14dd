"""What a child process writes: into a file, and warnings and worse (or all) onto the terminal."""

import logging
import re
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_BYTES = 10_000_000
TAIL = 20

#: How Celery, gunicorn, our own log and Valkey mark a line's level.
_LEVEL = re.compile(
    r"\b(?P<quiet>DEBUG|INFO|NOTICE)\b"
    r"|\b(?P<loud>WARNING|WARN|ERROR|CRITICAL|FATAL)\b"
    r"|^(?P<traceback>Traceback \(most recent call last\))"
    r"|^\d+:[MSCX] .{24} (?P<valkey>[.*#-]) "
)
#: Advice about the machine and the usual last words, at a warning's level.
_HARMLESS = ("Memory overcommit must be enabled", "Valkey is now ready to exit")


class ProcessLog:
    """Splits one process's output into lines; a line without a level belongs to the one before."""

    def __init__(self, path: Path, verbose: bool = False) -> None:
        """Appends to `path`, which is moved to `path.1` at 10 MB; `verbose` shows every line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=1, delay=True)
        self._verbose = verbose
        self._rest = b""
        self._loud = False
        self._has_shown = False
        self._tail: deque[str] = deque(maxlen=TAIL)

    def feed(self, data: bytes) -> list[str]:
        """Files what was read; the lines to show come back."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [text for line in lines if self._take(text := line.decode(errors="replace"))]

    def end(self, died: bool) -> list[str]:
        """Files an unfinished last line once the process is gone.

        If it died without a line worth showing, its last ones come back as they are.
        """
        lines = self.feed(b"\n") if self._rest else []
        if died and not self._has_shown:
            lines = list(self._tail)
        self._tail.clear()
        self._loud = self._has_shown = False
        return lines

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _take(self, text: str) -> bool:
        self._file.emit(logging.makeLogRecord({"msg": text}))
        level = _LEVEL.search(text)
        if level:
            self._loud = bool(level["loud"] or level["traceback"] or level["valkey"] == "#")
        loud = self._loud and not any(words in text for words in _HARMLESS)
        shown = loud or self._verbose
        self._has_shown |= shown
        self._tail.append(text)
        return shown
