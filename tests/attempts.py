"""Whole attempts in tests: the finisher's part too, before the test looks."""

from typing import Any

from lorajobs.attempt import Bench
from lorajobs.ending import Ending
from lorajobs.finisher import Finisher
from lorajobs.jobs import Lease
from lorajobs.report import AttemptReport
from lorajobs.run import run
from lorajobs.store import LeaseStore


def run_whole(lease: Lease, store: LeaseStore, **parts: Any) -> tuple[Ending, str]:
    """Runs an attempt on a bench of these parts until it has ended, and says how and why."""
    told: list[tuple[Ending, str]] = []

    def tell(_: Lease, report: AttemptReport, reason: str) -> None:
        told.append((report.ending, reason))

    finisher = Finisher(store, depth=1, renew_s=0.5, patience_s=60)
    try:
        end = run(Bench(store=store, finisher=finisher, tell=tell, **parts), lease)
    finally:
        finisher.close()
    return end or told[0]
