"""Kills everything that can be killed, under load, and counts what became of the jobs.

`python -m bench.chaos --kills 200 [--seed 1] [--workers 3]`: the last line is a JSON object (see
`bench.verdict.Report`), the exit code 1 if a promise was broken; then the logs are kept.
"""

import argparse
import json
import logging
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.announcements import Announcements
from bench.arena import SECRET, Arena, arena
from bench.faults import Faults
from bench.traffic import Traffic
from bench.verdict import Ledger, Report, judge
from bench.watch import Watch
from lorajobs.errors import StoreUnavailable
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from tests.services.receiver import Receiver, receiver

TICK_S = 0.02
#: Seconds between two faults.
PAUSE_S = (0.5, 2.0)
#: Jobs that are kept waiting, per worker.
BACKLOG = 6
#: Seconds that the line gets to come to rest.
PATIENCE_S = 60.0


class Chaos:
    """One run on an arena."""

    def __init__(self, place: Arena, hooks: Receiver, seed: int) -> None:
        rng = random.Random(seed)
        url = place.broker.url
        self._traffic_rng = random.Random(rng.random())
        self._rng = rng
        self._place = place
        # Only reads, so neither number matters.
        self._store = RedisJobStore(connect(url))
        self._hooks = hooks
        self._announcements = Announcements(hooks, SECRET)
        self._ledger = Ledger(url, self._store)
        self._watch = Watch(url, self._store, place.workers)
        self._faults = Faults(place, rng)
        self._report = Report(seed=seed)

    def run(self, kills: int) -> tuple[Report, list[str]]:
        """Injects so many faults, waits for rest; returns the figures and what was broken."""
        begun = time.monotonic()
        waiting = BACKLOG * len(self._place.workers)
        traffic = Traffic(
            self._place.line.url, self._hooks.url, self._store, waiting, self._traffic_rng
        )
        traffic.start()
        try:
            broken = self._rage(kills) or self._calm()
        finally:
            traffic.stop()
        broken += self._rest(traffic.accepted)
        report = self._report
        judge(
            report,
            self._ledger,
            traffic.accepted,
            self._announcements,
            self._place.broker.outages,
        )
        report.kills = self._faults.done.total()
        report.faults = dict(self._faults.done)
        report.exits = self._place.exits
        report.false_starts = self._place.false_starts
        report.cuts = self._place.proxy.cuts
        report.orphans = len(self._place.orphans())
        report.webhooks_forged = self._announcements.forged
        report.idle_max_s = round(self._watch.idle_max_s, 2)
        report.recovery_max_s = round(report.recovery_max_s, 2)
        report.seconds = round(time.monotonic() - begun, 1)
        return report, [*broken, *sorted(set(traffic.refusals)), *report.broken()]

    def _rage(self, kills: int) -> list[str]:
        """Until so many faults are done."""
        due = time.monotonic()
        while self._faults.done.total() < kills:
            if time.monotonic() >= due and self._faults.inflict():
                due = time.monotonic() + self._rng.uniform(*PAUSE_S)
            if time.monotonic() > due + PATIENCE_S:
                return ["no worker works that a fault could spare"]
            self._tick()
        return []

    def _calm(self) -> list[str]:
        """Until all is repaired and every worker works again."""
        self._place.proxy.share = 0
        while not self._faults.repaired:
            self._tick()
        calm = time.monotonic()
        while any(slot.active < calm for slot in self._place.workers):
            if time.monotonic() > calm + PATIENCE_S:
                return ["not every worker works again"]
            self._tick()
        return []

    def _rest(self, accepted: Sequence[str]) -> list[str]:
        """Until every job has ended and was announced."""
        ends_at = time.monotonic() + PATIENCE_S
        open_ids = set(accepted) | set(self._ledger.ids())
        while open_ids:
            if time.monotonic() > ends_at:
                return [f"{len(open_ids)} jobs have not ended or were not announced"]
            self._tick()
            open_ids = {job_id for job_id in open_ids if not self._is_over(job_id)}
        return []

    def _is_over(self, job_id: str) -> bool:
        job = self._ledger.job(job_id)
        return job is not None and str(job.status) in self._announcements.ends[job_id]

    def _tick(self) -> None:
        self._place.supervise()
        self._faults.repair()
        self._announcements.collect()
        if self._place.broker.pid is not None:
            try:
                self._watch.look()
            except StoreUnavailable as error:
                print(f"not seen: {error}", file=sys.stderr)
        time.sleep(TICK_S)


def chaos(kills: int, seed: int, workers: int, folder: Path) -> tuple[Report, list[str]]:
    """Runs it in a folder; returns the figures and what was broken."""
    with receiver() as hooks, arena(folder, workers, seed) as place:
        return Chaos(place, hooks, seed).run(kills)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="faults to inject")
    parser.add_argument("--seed", type=int, default=None, help="a random one if not given")
    parser.add_argument("--workers", type=int, default=3)
    args = parser.parse_args(argv)
    seed = random.randrange(2**31) if args.seed is None else args.seed
    folder = Path(tempfile.mkdtemp(prefix="lorajobs-chaos-"))
    logging.basicConfig(
        filename=folder / "chaos.log",
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    report, broken = chaos(args.kills, seed, args.workers, folder)
    for promise in broken:
        print(f"broken: {promise}", file=sys.stderr)
    if broken:
        print(f"logs: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    print(json.dumps(report.as_dict()), flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
