"""What a courier tells Prometheus of itself."""

from collections.abc import Iterable

from lorajobs.metrics import ProcessMetrics, serve
from lorajobs.settings import Settings
from lorajobs.tally import TallyKeeper

#: What one try to send a webhook came to.
DELIVERIES = ("delivered", "gone", "erased", "outdated", "retried", "given_up")
ROUNDS = ("done", "skipped", "failed")


class CourierMetrics(ProcessMetrics):
    """The metrics of one courier."""

    def __init__(self) -> None:
        super().__init__("courier")
        self._rounds = self.count("rounds", "Rounds of housekeeping, by result", "result")
        self._minted = self.count("minted_tickets", "Tickets that replaced lost ones", "base")
        self._erased = self.count("erased_jobs", "Jobs erased after their retention")
        self._deliveries = self.count("deliveries", "Tries to send a webhook", "result")
        self._latency = self.seconds("delivery", "How long a receiver took to answer one try")

    def serve(self, settings: Settings, bases: Iterable[str], tally: TallyKeeper) -> None:
        """Answers scrapes if the settings say so.

        Raises: ConfigError.
        """
        unsettled = "Webhooks that are not settled"
        self.look_up("outbox", unsettled, lambda: tally.tally().unsettled)
        for result in ROUNDS:
            self._rounds.labels(result)
        for result in DELIVERIES:
            self._deliveries.labels(result)
        for base in bases:
            self._put_back.labels(base)
            self._minted.labels(base)
        serve(self.registry, settings)

    def round(self, result: str) -> None:
        """Counts a round, by one of the results `ROUNDS`."""
        self._rounds.labels(result).inc()

    def minted(self, base: str, count: int) -> None:
        """Counts tickets that were missing."""
        self._minted.labels(base).inc(count)

    def erased(self) -> None:
        """Counts a job that was kept long enough."""
        self._erased.inc()

    def delivered(self, result: str, seconds: float | None) -> None:
        """Counts a try, by one of the results `DELIVERIES`; None if nobody was asked."""
        self._deliveries.labels(result).inc()
        if seconds is not None:
            self._latency.observe(seconds)
