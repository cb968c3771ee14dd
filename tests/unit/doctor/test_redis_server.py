"""What the doctor makes of what a Redis tells of itself."""

import pytest

from lorajobs.doctor.finding import State
from lorajobs.doctor.redis_server import findings
from lorajobs.redis_health import RedisHealth

GOOD = RedisHealth(
    name="Valkey 9.1.2",
    version=(7, 2, 4),
    role="master",
    has_aof=True,
    has_snapshots=False,
    writes_well=True,
    policy="noeviction",
    max_bytes=0,
    used_bytes=1_000_000,
    clients=10,
    max_clients=10_000,
    latency_s=0.0002,
    ahead_s=0.01,
)


def test_a_good_one() -> None:
    assert {finding.state for finding in findings(GOOD, "redis://x")} == {State.OK}


@pytest.mark.parametrize(
    ("change", "state", "said", "way_out"),
    [
        ({"version": (6, 2, 14)}, State.WRONG, "Valkey", "7.0 or newer"),
        ({"role": "slave"}, State.WRONG, "replica", "primary"),
        ({"latency_s": 0.02}, State.WARNING, "20.00 ms", "nearer"),
        ({"writes_well": False}, State.WRONG, "could not write", "disk"),
        ({"has_aof": False}, State.WARNING, "loses every job", "appendonly yes"),
        ({"has_aof": False, "has_snapshots": True}, State.WARNING, "snapshots", "appendonly"),
        ({"has_aof": False, "has_snapshots": None}, State.WARNING, "no log", "appendonly"),
        ({"policy": "allkeys-lru"}, State.WRONG, "drops jobs", "noeviction"),
        ({"max_bytes": 1_050_000}, State.WARNING, "nearly full", "maxmemory"),
        ({"clients": 9500}, State.WARNING, "9500 of 10000", "maxclients"),
        ({"ahead_s": 30.0}, State.WARNING, "30.0 s behind", "NTP"),
        ({"ahead_s": -30.0}, State.WARNING, "30.0 s ahead of", "NTP"),
    ],
)
def test_each_fault_is_named_with_its_way_out(
    change: dict[str, object], state: State, said: str, way_out: str
) -> None:
    found = findings(GOOD._replace(**change), "redis://x")  # type: ignore[arg-type]
    (bad,) = (finding for finding in found if finding.state is not State.OK)
    assert bad.state is state
    assert said in bad.text
    assert way_out in bad.way_out
