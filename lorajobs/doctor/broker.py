"""Celery's broker, and whether it has the tickets that waiting jobs need."""

import time
from collections.abc import Iterator

from lorajobs.catalog import Catalog
from lorajobs.celery import make_app
from lorajobs.doctor.finding import Finding, ok, warning, wrong
from lorajobs.errors import StoreUnavailable
from lorajobs.redis_tally import open_tally
from lorajobs.setting_text import masked
from lorajobs.settings import Settings
from lorajobs.tickets import TicketQueue


def broker(settings: Settings) -> Iterator[Finding]:
    """Whether it answers; a short way is said nothing of, as Redis's own check does."""
    url = settings.broker_url or settings.redis_url
    called = f"{url.partition(':')[0]} at {masked(url)}"
    tickets = TicketQueue(make_app(settings), settings)
    queues = {entry.id: entry.queue for entry in Catalog.load(settings.config).models.values()}
    begun = time.perf_counter()
    try:
        depths = {model: tickets.depth(queue) for model, queue in queues.items()}
    except StoreUnavailable as error:
        text = f"{called}: {error.detail}"
        yield wrong(text, "start it, or name it in LORAJOBS_BROKER_URL (unset: LORAJOBS_REDIS_URL)")
        return
    took_ms = 1000 * (time.perf_counter() - begun) / len(queues)
    yield ok(f"{called}: {sum(depths.values())} tickets, asked in {took_ms:.0f} ms a queue")
    bases = open_tally(settings).tally().bases
    short = [
        model for model, depth in depths.items() if model in bases and depth < bases[model].waiting
    ]
    if short:
        text = f"{', '.join(short)}: fewer tickets than waiting jobs"
        yield warning(
            text, "the courier mints them within seconds; if it stays so, start a courier"
        )
