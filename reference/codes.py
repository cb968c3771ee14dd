"""`docs/codes.md`: every error, with its status and whether trying again can help."""

import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path

import lorajobs
import web
from lorajobs.errors import LoraJobsError
from reference.http import document
from reference.markdown import MADE, joined, table
from web.errors import HTTP_CODES
from web.openapi import family

TROUBLESHOOTING = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
#: Tests derive errors of their own.
PACKAGES = ("lorajobs.", "web.")
INTRO = (
    "A refusal is a problem document (RFC 9457) with one of these codes; a job that failed has the "
    "same in `error`. Each leads to what it means and to the way out; those without a status are "
    "met in jobs, at the command line or by [clients of other APIs](compatibility.md) alone. "
    + MADE
)
WARNINGS = "A job's `warnings` tell what was done otherwise than asked, without failing."


def page() -> str:
    """The whole page."""
    titles = {code: HTTPStatus(status).phrase for status, code in HTTP_CODES.items()}
    retryable = set()
    for kind in kinds():
        titles.setdefault(kind.code, kind.title)
        if kind.retryable:
            retryable.add(kind.code)
    statuses = answered()
    rows = [
        (
            _link(code),
            title,
            ", ".join(str(status) for status in sorted(statuses[code])),
            "yes" if code in retryable else "no",
        )
        for code, title in sorted(titles.items())
    ]
    entries = re.findall(r"^## (\S+)$", TROUBLESHOOTING.read_text(), re.MULTILINE)
    warnings = sorted(set(entries) - titles.keys())
    heads = ("code", "title", "status", "retryable")
    return joined(
        [
            "# Codes",
            INTRO,
            "## Errors",
            table(heads, rows),
            "## Warnings",
            WARNINGS,
            "\n".join(f"* {_link(code)}" for code in warnings),
        ]
    )


def answered() -> Mapping[str, set[int]]:
    """The statuses with which the routes answer each code."""
    found = defaultdict(set, {code: {status} for status, code in HTTP_CODES.items()})
    for methods in document()["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if "application/problem+json" in answer.get("content", {}):
                    for code in re.findall(r"`(\w+)`", answer["description"]):
                        found[code].add(int(status))
    return found


def kinds() -> Iterator[type[LoraJobsError]]:
    """Every class of error with a code of its own, in an order that no import changes."""
    for package in (lorajobs, web):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name.endswith(("errors", ".outbox", ".pictures", ".seats")):
                importlib.import_module(module.name)
    ours = [kind for kind in family(LoraJobsError) if kind.__module__.startswith(PACKAGES)]
    yield from sorted(ours, key=lambda kind: (kind is not LoraJobsError, kind.__qualname__))


def _link(code: str) -> str:
    return f"[`{code}`](troubleshooting.md#{code})"
