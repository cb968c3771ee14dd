"""Every error of the API is a problem document, and every code has an entry in the docs."""

import re
from pathlib import Path

import pytest

from lorajobs import (
    access_errors,
    errors,
    image_errors,
    lora_errors,
    moderation_errors,
    operator_errors,
    outbox,
    store_errors,
    upload_errors,
)
from lorajobs.errors import LoraFetchFailed, LoraJobsError
from lorajobs.jobs import Job
from lorajobs.testing import MemoryJobStore
from tests.shelf import Shelf
from tests.unit.web.api import Api, problem_of
from web import pictures, seats
from web.errors import HTTP_CODES

#: Where errors with codes are.
MODULES = (
    errors,
    access_errors,
    image_errors,
    lora_errors,
    moderation_errors,
    operator_errors,
    outbox,
    store_errors,
    upload_errors,
    pictures,
    seats,
)
DOCS = Path(__file__).parents[3] / "docs" / "troubleshooting.md"


def test_a_page_that_is_not_there(api: Api) -> None:
    document = problem_of(api.client.get("/v1/nix"), 404, "not_found")
    assert "/v1/nix" in document["detail"]


def test_a_method_that_is_not_taken(api: Api) -> None:
    answer = api.client.put("/v1/jobs")
    problem_of(answer, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


class Broken(MemoryJobStore):
    """A store with a fault."""

    def get(self, job_id: str) -> Job:
        raise ZeroDivisionError("internal detail")


def test_a_fault_tells_the_log_and_not_the_client(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    answer = Api(shelf, store=Broken()).client.get("/v1/jobs/x")
    problem_of(answer, 500, "internal")
    assert "internal detail" not in answer.text
    assert "ZeroDivisionError: internal detail" in caplog.text


def test_a_source_that_is_down_can_be_tried_again(shelf: Shelf) -> None:
    def down(_: str) -> None:
        raise LoraFetchFailed("the hub does not answer")

    answer = Api(shelf, check_webhook=down).client.post(
        "/v1/jobs",
        json={"model": "demo", "prompt": "p", "webhook": {"url": "https://receiver.example"}},
    )
    document = problem_of(answer, 503, "lora_fetch_failed")
    assert [error["pointer"] for error in document["errors"]] == ["/webhook/url"]


def codes() -> set[str]:
    kinds = [v for m in MODULES for v in vars(m).values() if isinstance(v, type)]
    return {v.code for v in kinds if issubclass(v, LoraJobsError)} | set(HTTP_CODES.values())


def headings() -> list[str]:
    return re.findall(r"^## (\S+)$", DOCS.read_text(), re.MULTILINE)


def test_every_code_has_one_entry_in_the_docs() -> None:
    found = headings()
    assert len(found) == len(set(found))
    assert codes() <= set(found)


def test_every_entry_is_of_a_code_or_a_warning() -> None:
    package = DOCS.parents[1] / "lorajobs"
    text = "".join(path.read_text() for path in package.rglob("*.py"))
    warnings = set(re.findall(r'JobWarning\(\s*code="(\w+)"', text))
    assert set(headings()) == codes() | warnings


def test_the_docs_begin_with_the_two_famous_ones() -> None:
    first = DOCS.read_text().split("\n## ")[1]
    assert first.startswith("lora_base_mismatch\n")
    assert "no tag `lora`" in first
    assert "its card names the base_model" in first
