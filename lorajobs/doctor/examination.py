"""All checks side by side, each with a time of its own."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lorajobs.doctor.finding import Check, Finding, wrong
from lorajobs.errors import ConfigError, LoraJobsError, StoreUnavailable


class Told(NamedTuple):
    """A finding and the check that it comes from."""

    check: str
    finding: Finding


def examine(checks: Sequence[Check]) -> Iterator[Told]:
    """The findings in the order of the checks, each as soon as it and those before are done."""
    begun = time.monotonic()
    answers = [_begun(check) for check in checks]
    for check, answer in zip(checks, answers, strict=True):
        left_s = max(0.0, begun + check.within_s - time.monotonic())
        try:
            found = answer.get(timeout=left_s)
        except queue.Empty:
            hung = f"no answer within {check.within_s:g} s"
            found = [wrong(hung, "see what it waits for: the network, a disk, a driver")]
        yield from (Told(check.name, finding) for finding in found)


def _begun(check: Check) -> "queue.SimpleQueue[Sequence[Finding]]":
    # Of a daemon thread the process need not see the end: one that hangs ends with it.
    answer: queue.SimpleQueue[Sequence[Finding]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answer.put(_looked(check)), daemon=True).start()
    return answer


def _looked(check: Check) -> Sequence[Finding]:
    """What the check found until it ended, however it ended."""
    found: list[Finding] = []
    try:
        found.extend(check.look())
    except ConfigError as error:
        found.append(wrong(error.detail, "correct the setting or the file that it names"))
    except StoreUnavailable as error:
        found.append(wrong(error.detail, "see the lines of redis and broker"))
    except LoraJobsError as error:
        found.append(wrong(error.detail, f"docs/troubleshooting.md#{error.code} tells more"))
    except Exception as error:
        # One check that breaks must not take the others with it.
        found.append(
            wrong(f"{type(error).__name__}: {error}", "read the message; if in doubt report it")
        )
    return found
