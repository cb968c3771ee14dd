"""The tally of a Redis or Valkey: one script that only reads."""

from collections.abc import Sequence

import redis

from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.redis_scripts import load
from lorajobs.settings import Settings
from lorajobs.tally import OVERDUE_S, RATE_MINUTES, BaseCount, Tally, Totals


class RedisTally:
    """A TallyKeeper beside RedisJobStore, on the same keys."""

    def __init__(self, client: redis.Redis, prefix: str = PREFIX) -> None:
        self._script = load(client, "tally")["tally"]
        self._prefix = prefix

    def tally(self) -> Tally:
        with translated():
            row = self._script(args=[self._prefix, int(OVERDUE_S * 1000), RATE_MINUTES])
        now_ms, delayed, unsettled, due, overdue, *bases = row
        minutes = RATE_MINUTES - 1 + now_ms % 60_000 / 60_000
        return Tally(
            {
                model: BaseCount(
                    waiting,
                    None if age_ms < 0 else age_ms / 1000,
                    running,
                    round(submitted / minutes, 1),
                    round(ended / minutes, 1),
                )
                for model, waiting, age_ms, running, submitted, ended, _ in bases
            },
            delayed,
            unsettled,
            due,
            overdue,
            {model: _totals(found) for model, *_, found in bases},
        )


def _totals(row: Sequence[str]) -> Totals:
    found = dict(zip(row[::2], map(int, row[1::2]), strict=True))
    pictures, gpu_ms, lost = (found.pop(name, 0) for name in ("pictures", "gpu_ms", "lost"))
    ends = {what.partition(" ")[::2]: count for what, count in found.items()}
    return Totals(ends, pictures, gpu_ms / 1000, lost)


def open_tally(settings: Settings) -> RedisTally:
    """The tally of the store that the settings name; opens no connection yet."""
    return RedisTally(connect(settings.redis_url))
