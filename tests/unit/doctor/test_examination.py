"""Checks side by side: none takes another with it."""

import threading
from collections.abc import Iterator

from lorajobs.doctor.checks import checks
from lorajobs.doctor.examination import examine
from lorajobs.doctor.finding import NAMES, Check, Finding, State, ok, warning
from lorajobs.errors import ConfigError, StoreUnavailable
from lorajobs.settings import Settings


def check(name: str, *found: Finding | Exception, within_s: float = 5) -> Check:
    def look() -> Iterator[Finding]:
        for each in found:
            if isinstance(each, Exception):
                raise each
            yield each

    return Check(name, look, within_s)


def told(*checks: Check) -> list[tuple[str, str, str]]:
    return [(name, finding.state.value, finding.text) for name, finding in examine(checks)]


def test_every_check_has_its_name() -> None:
    assert [check.name for check in checks(Settings())] == list(NAMES)
    assert [check.name for check in checks(Settings(), ["disk"])] == ["disk"]


def test_findings_come_in_the_order_of_the_checks() -> None:
    first, second = check("a", ok("1"), warning("2", "way")), check("b", ok("3"))
    assert told(first, second) == [("a", "ok", "1"), ("a", "warning", "2"), ("b", "ok", "3")]


def test_one_that_breaks_keeps_what_it_found_and_harms_no_other() -> None:
    broken = check("a", ok("1"), ZeroDivisionError("0"))
    away = check("b", StoreUnavailable("away"))
    wrongly_set = check("c", ConfigError("LORAJOBS_X: no"))
    assert told(broken, away, wrongly_set, check("d", ok("4"))) == [
        ("a", "ok", "1"),
        ("a", "wrong", "ZeroDivisionError: 0"),
        ("b", "wrong", "away"),
        ("c", "wrong", "LORAJOBS_X: no"),
        ("d", "ok", "4"),
    ]


def test_one_that_hangs_is_given_up_and_the_others_run_beside_it() -> None:
    free = threading.Event()

    def hangs() -> Iterator[Finding]:
        free.wait(60)
        yield ok("too late")

    def frees() -> Iterator[Finding]:
        # It could not if checks waited for each other.
        yield ok("1")

    try:
        (hung, fine) = examine([Check("a", hangs, 0.1), Check("b", frees, 5)])
    finally:
        free.set()
    assert (hung.finding.state, fine.finding.state) == (State.WRONG, State.OK)
    assert "no answer within 0.1 s" in hung.finding.text
    assert hung.finding.way_out
