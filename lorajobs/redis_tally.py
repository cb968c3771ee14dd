"""The tally of a Redis or Valkey: one script that only reads."""

from importlib.resources import files

import redis

from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.settings import Settings
from lorajobs.tally import OVERDUE_S, BaseCount, Tally


class RedisTally:
    """A TallyKeeper beside RedisJobStore, on the same keys."""

    def __init__(self, client: redis.Redis, prefix: str = PREFIX) -> None:
        folder = files("lorajobs") / "lua"
        names = ("keys.lua", "tally.lua")
        self._script = client.register_script("".join((folder / n).read_text() for n in names))
        self._prefix = prefix

    def tally(self) -> Tally:
        with translated():
            row = self._script(args=[self._prefix, int(OVERDUE_S * 1000)])
        delayed, unsettled, due, overdue, *bases = row
        return Tally(
            {
                model: BaseCount(waiting, None if age_ms < 0 else age_ms / 1000, running)
                for model, waiting, age_ms, running in bases
            },
            delayed,
            unsettled,
            due,
            overdue,
        )


def open_tally(settings: Settings) -> RedisTally:
    """The tally of the store that the settings name; opens no connection yet."""
    return RedisTally(connect(settings.redis_url))
