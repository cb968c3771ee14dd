"""gunicorn's worker with threads, whose listeners leave when it is told to stop."""

from types import FrameType

from gunicorn.workers.gthread import ThreadWorker

from web.deps import EXTENSION


class Worker(ThreadWorker):
    """Answers each request in a thread; without this, one that follows a job would hold up its end.

    Measured beside gevent, see docs/decisions.md.
    """

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
