"""gunicorn's worker with threads, whose listeners leave when it is told to stop."""

from types import FrameType
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from web.deps import EXTENSION

#: What gunicorn reads of a body that its application left, to keep the connection.
_DRAINED = 1 << 16


class Worker(ThreadWorker):
    """Answers each request in a thread; without this, one that follows a job would hold up its end.

    Measured beside gevent, see docs/decisions.md.
    """

    def handle_request(self, req: Any, conn: Any) -> bool:  # noqa: ANN401
        """Ends the connection after a body of which too much may be left, as of a refused upload.

        gunicorn would close it then too, but only after it has promised the client to keep it.
        """
        said = {name.lower(): value for name, value in req.headers}
        if "transfer-encoding" in said or int(said.get("content-length", 0)) > _DRAINED:
            req.force_close()
        return bool(super().handle_request(req, conn))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins a shutdown in order."""
        self._ask_listeners_to_leave()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Ends at once; the interpreter still waits for every thread."""
        self._ask_listeners_to_leave()
        super().handle_quit(sig, frame)

    def _ask_listeners_to_leave(self) -> None:
        # It may be told so before it has an application.
        parts = getattr(getattr(self, "wsgi", None), "extensions", {}).get(EXTENSION)
        if parts:
            parts.seats.close()
