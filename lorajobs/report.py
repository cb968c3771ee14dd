"""What a worker's child measures, on its way to the parent, which alone answers scrapes."""

import logging
import os
import select
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import TypeAdapter

from lorajobs import logs
from lorajobs.ending import Ending
from lorajobs.jobs import Metrics
from lorajobs.spec import Frozen

log = logging.getLogger(__name__)


class AttemptReport(Frozen):
    """One attempt from its begin in the child to its end in the store."""

    base: str
    ending: Ending
    #: seconds for which it kept the worker from the next job
    service_s: float
    metrics: Metrics
    #: pictures that a checker flagged
    withheld: int = 0


class FetchReport(Frozen):
    """One adapter that was not on this machine and was fetched ahead of its job, or was not."""

    base: str
    fetched: bool


class CanaryReport(Frozen):
    """One look at the weights of an idle worker."""

    base: str
    #: `sound`, `corrupt`, or `failed` if they could not be compared
    result: str


Report = AttemptReport | FetchReport | CanaryReport
_REPORTS: TypeAdapter[Report] = TypeAdapter(Report)


class ReportPipe:
    """A pipe made before the child is forked, so that a child that replaces a dead one has it too.

    Celery passes a result as the start of its `repr`, and none at all for most ends.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        # Where nobody is scraped nobody reads, and a full pipe must stop no attempt.
        os.set_blocking(self._write, False)

    def send(self, report: Report) -> None:
        """Sends a report, or drops it if a thousand or so were not read."""
        line = report.model_dump_json(exclude_none=True).encode() + b"\n"
        # Up to this size a write is one piece, whichever threads write and die.
        if len(line) > select.PIPE_BUF:
            log.warning("a report of %d bytes is dropped", len(line))
            return
        try:
            os.write(self._write, line)
        except BlockingIOError:
            log.debug("a report is dropped")

    def received(self) -> Iterator[Report]:
        """Waits for one report after the other, until the process ends."""
        rest = b""
        while data := os.read(self._read, 65_536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield _REPORTS.validate_json(line)


class Measurement:
    """What one attempt measures of itself while it runs."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._ended: float | None = None
        #: the job's adapters by where they were
        self.tiers: Counter[str] = Counter()
        #: True if the applied adapters were changed
        self.swapped: bool | None = None
        #: pictures that a checker flagged
        self.withheld = 0

    def stop(self) -> None:
        """Says that the worker is free for the next job."""
        self._ended = time.perf_counter()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Measures one stage, named as its field of `Metrics`, or another part of it."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            before = self._seconds.get(name, 0.0)
            self._seconds[name] = round(before + time.perf_counter() - begun, 4)

    def took_ms(self, name: str) -> float | None:
        """Milliseconds of a stage so far, for the log; None if it was not reached."""
        return logs.ms(self._seconds.get(name))

    def metrics(self, queue_s: float) -> Metrics:
        """The job's own part of it."""
        tiers = dict(self.tiers) or None
        return Metrics(queue_s=queue_s, swapped=self.swapped, tiers=tiers, **self._seconds)

    def report(self, base: str, ending: Ending, queue_s: float) -> AttemptReport:
        """All of it."""
        return AttemptReport(
            base=base,
            ending=ending,
            service_s=round((self._ended or time.perf_counter()) - self._begun, 4),
            metrics=self.metrics(queue_s),
            withheld=self.withheld,
        )
