"""The job store's keys on Redis agree with each other and with the jobs' records."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

from lorajobs.jobs import Job, JobStatus

#: How a key of each type is read.
_READ: Mapping[str, Callable[[Any, str], object]] = {
    "zset": lambda pipe, key: pipe.zrange(key, 0, -1, withscores=True),
    "hash": lambda pipe, key: pipe.hgetall(key),
    "set": lambda pipe, key: pipe.smembers(key),
    "string": lambda pipe, key: pipe.get(key),
    "list": lambda pipe, key: pipe.lrange(key, 0, -1),
    "stream": lambda pipe, key: pipe.xlen(key),
}


def contents(client: Any, prefix: str) -> dict[str, Any]:
    """Every key below the prefix and what it holds, sorted sets as dictionaries."""
    keys = sorted(client.keys(f"{prefix}:*"))
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.type(key)
        kinds = pipe.execute()
        for key, kind in zip(keys, kinds, strict=True):
            _READ[kind](pipe, key)
        values = pipe.execute()
    names = [key.removeprefix(f"{prefix}:") for key in keys]
    return {
        name: dict(value) if kind == "zset" else value
        for name, kind, value in zip(names, kinds, values, strict=True)
    }


def check_keys(
    keys: Mapping[str, Any], records: Mapping[str, Job], deleted: Collection[str]
) -> None:
    """Each job is in exactly one place, every index is complete, and the deleted left nothing."""
    assert _family(keys, "job").keys() == records.keys()
    assert keys.get("jobs", {}) == {job.id: job.created_ms for job in records.values()}
    owned: dict[str, dict[str, int]] = defaultdict(dict)
    for job in records.values():
        owned[job.spec.owner][job.id] = job.created_ms
    assert _family(keys, "owned") == owned
    assert _family(keys, "events").keys() <= records.keys()
    _check_places(keys, records)
    _check_groups(keys)
    _check_deliveries(keys, records)
    # A worker's last claim stays: with its ticket, that attempt and no other is found.
    rest = {name: value for name, value in keys.items() if not name.startswith("claim:")}
    assert not [job_id for job_id in deleted if job_id in repr(rest)]


def _family(keys: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The keys that begin with a name and a colon, by what follows."""
    head = f"{name}:"
    return {key.removeprefix(head): value for key, value in keys.items() if key.startswith(head)}


def _check_places(keys: Mapping[str, Any], records: Mapping[str, Job]) -> None:
    places = defaultdict(list)
    for name in ("delayed", "leases", *(key for key in keys if key.startswith("waiting:"))):
        for job_id in keys.get(name, {}):
            places[job_id].append(name)
    assert places.keys() <= records.keys()
    for job in records.values():
        assert places[job.id] in _allowed(job), (places[job.id], job)
    ended = {job.id for job in records.values() if job.status.is_terminal}
    assert keys.get("kept", {}).keys() == ended
    unstarted = {job.id for job in records.values() if not job.attempt} - ended
    assert keys.get("deadlines", {}).keys() == {
        job_id for job_id in unstarted if records[job_id].spec.start_deadline_s is not None
    }


def _allowed(job: Job) -> list[list[str]]:
    if job.status is JobStatus.QUEUED:
        return [[f"waiting:{job.spec.model}"], ["delayed"]]
    return [["leases"]] if job.status is JobStatus.RUNNING else [[]]


def _check_groups(keys: Mapping[str, Any]) -> None:
    hashes = _family(keys, "job")
    sizes: dict[str, dict[str, str]] = defaultdict(dict)
    lines: dict[str, dict[str, float]] = defaultdict(dict)
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for model, queue in _family(keys, "waiting").items():
        for job_id, score in queue.items():
            job = hashes[job_id]
            assert score == float(job["score_us"])
            sizes[model][job["group"]] = str(int(sizes[model].get(job["group"], 0)) + 1)
            lines[f"{model}:{job['owner']}"][job_id] = score
            groups[f"{model}:{job['owner']}:{job['group']}"][job_id] = score
    assert _family(keys, "groups") == sizes
    assert _family(keys, "line") == lines
    assert _family(keys, "group") == groups
    assert _flat(keys, "heads") == {name: min(queue.values()) for name, queue in groups.items()}
    served = {name: float(us) for name, us in _flat(keys, "served").items()}
    assert _flat(keys, "turns") == {
        name: max(min(line.values()), served.get(name, 0)) for name, line in lines.items()
    }


def _flat(keys: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A family of indexes as one, the names in each after its own."""
    return {
        f"{own}:{member}": value
        for own, index in _family(keys, name).items()
        for member, value in index.items()
    }


def _check_deliveries(keys: Mapping[str, Any], records: Mapping[str, Job]) -> None:
    deliveries = _family(keys, "delivery")
    assert _flat(keys, "deliveries").keys() == {
        f"{delivery['job']}:{name}" for name, delivery in deliveries.items()
    }
    pending = {name for name, delivery in deliveries.items() if delivery["status"] == "pending"}
    outbox = keys.get("outbox", {})
    assert outbox.keys() == pending
    hooks = _family(keys, "hooks")
    assert {(name, host): due for host, index in hooks.items() for name, due in index.items()} == {
        (name, deliveries[name]["host"]): due for name, due in outbox.items()
    }
    assert keys.get("hosts", {}) == {host: min(index.values()) for host, index in hooks.items()}
    assert {name for index in _family(keys, "sending").values() for name in index} <= pending
    assert _family(keys, "tries").keys() <= deliveries.keys()
    for delivery in deliveries.values():
        event = delivery["event"]
        assert event in ("job.started", f"job.{records[delivery['job']].status}")
