"""Random use of a job store on Redis."""

from tests.backends import RedisBackend
from tests.stateful.agreement import Move
from tests.stateful.keys import check_keys, contents
from tests.stateful.machine import StoreMachine


class RedisMachine(StoreMachine):
    """The same, with a look at the keys after every step."""

    def __init__(self, backend: RedisBackend, walked: set[Move]) -> None:
        super().__init__(backend, walked)
        self._redis = backend

    def check(self) -> None:
        super().check()
        keys = contents(self._redis.client, self._redis.prefix)
        check_keys(keys, self.records, set(self.ledger.ids) - self.ledger.entries.keys())
