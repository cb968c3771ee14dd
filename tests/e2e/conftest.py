"""What tests of the whole line share; each module has its own line, called `running`."""

from collections.abc import Iterator

import pytest

from tests.services.line import Line


@pytest.fixture
def painter(running: Line) -> Iterator[int]:
    """One worker that takes 50 ms a step; its process id."""
    process = running.start_painter(step_s=0.05)
    yield process.pid
    running.stop([process])
