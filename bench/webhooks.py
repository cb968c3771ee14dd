"""Kills couriers while a bad receiver fails and hangs, and counts what it heard in the end.

`python -m bench.webhooks --jobs 200 --kills 25 [--seed 1]`: the last line is a JSON object (see
`Report`), the exit code 1 if an end was not announced, or under two ids, or forged.
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.announcements import Announcements
from lorajobs.jobs import Job, JobStatus, Outcome
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from lorajobs.spec import JobSpec, OutputFormat, Webhook
from lorajobs.webhook_secrets import new_secret
from tests.services.line import Line, line
from tests.services.receiver import Received, Receiver, receiver
from tests.services.valkey import valkey

FAILS, HANGS = 0.3, 0.1
TIMEOUT_S = 0.5
#: Seconds that a courier lives, once it works.
LIFE_S = (0.1, 0.6)
PATIENCE_S = 120.0
SECRET = new_secret()
SETTINGS = {
    "LORAJOBS_WEBHOOK_TIMEOUT_S": str(TIMEOUT_S),
    "LORAJOBS_WEBHOOK_RETRY_S": str([0.1, 0.2, 0.4] + [0.5] * 60),
    "LORAJOBS_WEBHOOK_PER_HOST": "8",
    "LORAJOBS_WEBHOOK_SECRET": SECRET,
    "LORAJOBS_SWEEP_S": "0.1",
}


@dataclass
class Report:
    """What became of the ends of all jobs."""

    jobs: int
    kills: int
    seed: int
    #: jobs whose end the receiver never took, and those that it heard of under several ids
    lost: int = 0
    several_ids: int = 0
    #: what did not verify, and tries in all
    forged: int = 0
    tries: int = 0
    failed: int = 0
    hung: int = 0
    #: ends that the receiver took more than once
    repeated: int = 0
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """True if every promise was kept."""
        return not (self.lost or self.several_ids or self.forged)


class Moody:
    """Decides how a receiver answers: by the request alone, whatever the order of arrival."""

    def __init__(self, seed: int) -> None:
        self.taken: dict[str, int] = {}
        self.failed = self.hung = 0
        self._seed = seed
        self._tries: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, received: Received) -> int | None:
        """The status; a hanging one comes after the courier has left."""
        name = received.headers["webhook-id"]
        with self._lock:
            number = self._tries[name] = self._tries.get(name, 0) + 1
            mood = _share(f"{self._seed} {name[-20:]} {number}")
            if mood < FAILS:
                self.failed += 1
                return 500
            if mood < FAILS + HANGS:
                self.hung += 1
            else:
                self.taken[name] = self.taken.get(name, 0) + 1
                return 204
        time.sleep(2 * TIMEOUT_S)
        return None


def under_fire(jobs: int, kills: int, seed: int, folder: Path) -> Report:
    """One run in a folder."""
    begun = time.monotonic()
    rng = random.Random(seed)
    report, moody = Report(jobs, kills, seed), Moody(seed)
    with receiver() as hooks, valkey(folder) as server:
        hooks.choose = moody
        store = RedisJobStore(connect(server.url))
        with line(folder, LORAJOBS_REDIS_URL=server.url, **SETTINGS) as running:
            heard = Announcements(hooks, SECRET)
            ids = _kill_couriers(running, store, hooks, jobs, kills, rng)
            running.start_courier()
            deadline = time.monotonic() + PATIENCE_S
            while _taken(moody, ids) < jobs and time.monotonic() < deadline:
                heard.collect()
                time.sleep(0.05)
            heard.collect()
    report.lost = jobs - _taken(moody, ids)
    report.several_ids = sum(len(heard.ids[job_id]) > 1 for job_id in ids)
    report.forged, report.tries = heard.forged, len(hooks.received)
    report.failed, report.hung = moody.failed, moody.hung
    report.repeated = sum(count > 1 for count in moody.taken.values())
    report.seconds = round(time.monotonic() - begun, 1)
    return report


def _kill_couriers(
    running: Line, store: RedisJobStore, hooks: Receiver, jobs: int, kills: int, rng: random.Random
) -> list[str]:
    """Ends the jobs in as many parts as couriers are killed; returns the jobs' ids."""
    ids = [str(rng.getrandbits(128)) for _ in range(jobs)]
    for number in range(kills):
        courier, before = running.start_courier(), len(hooks.received)
        for job_id in ids[jobs * number // kills : jobs * (number + 1) // kills]:
            end_job(store, job_id, hooks.url)
        hooks.wait(before + 1)
        time.sleep(rng.uniform(*LIFE_S))
        running.stop([courier])
    return ids


def end_job(store: RedisJobStore, job_id: str, url: str) -> None:
    """Submits a job with a webhook, and lets a worker finish it."""
    spec = JobSpec(
        model="demo",
        prompt="a red heart",
        negative_prompt="",
        width=128,
        height=128,
        num_inference_steps=1,
        guidance_scale=1,
        seed=1,
        num_images=1,
        scheduler=None,
        loras=(),
        output=OutputFormat(),
        webhook=Webhook(url=url),
        metadata={},
    )
    store.submit(Job(id=job_id, status=JobStatus.QUEUED, spec=spec, created_ms=0), None)
    claimed = store.claim("demo", job_id, "worker", job_id)
    assert claimed is not None
    store.finish(claimed.lease, Outcome(status=JobStatus.SUCCEEDED))


def _taken(moody: Moody, ids: Sequence[str]) -> int:
    return sum(f"{job_id}.succeeded" in moody.taken for job_id in ids)


def _share(text: str) -> float:
    """A number from 0 to 1 that only the text decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**32


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.webhooks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=25, help="couriers to kill")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="lorajobs-webhooks-") as folder:
        report = under_fire(args.jobs, args.kills, args.seed, Path(folder))
    print(json.dumps(asdict(report)), flush=True)
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
