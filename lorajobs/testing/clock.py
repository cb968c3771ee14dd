"""A clock that tests move by hand."""


class ManualClock:
    """A clock that stands still until it is told to move; milliseconds."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        """Reads the clock."""
        return self.now_ms

    def advance(self, seconds: float) -> None:
        """Moves the clock on."""
        self.now_ms += int(seconds * 1000)
