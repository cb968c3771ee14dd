"""The operations page in a real browser, before real workers that paint."""

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.services.browser import Visit, Visitor
from tests.system.fleet import HOSTILE, Fleet, fleet
from tests.system.ops_picture import open_page

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("ops"), LORAJOBS_WEBHOOK_RETRY_S="[600]") as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_workers_left(made: Fleet) -> Iterator[None]:
    """Each test starts the workers that it needs; they go also when it fails."""
    yield
    made.line.stop([p for name in ("killed", "other", "busy") for p in made.line.named(name)])


@pytest.fixture
def ops(visit: Visit, made: Fleet) -> Visitor:
    """An operator who looks at the page."""
    visitor = visit(made.line.url, "/ops")
    open_page(visitor, made.keys["operator"])
    return visitor


def worker(page: Page, pid: int) -> Any:
    """The card of the worker with this process id."""
    return page.locator(".worker").filter(has_text=f"-{pid}@")


def queue(page: Page, model: str) -> Any:
    """The card of a base's queue."""
    return page.locator(".queue").filter(has=page.get_by_role("heading", name=model, exact=True))


def purge(page: Page, model: str, asked: str, answer: str) -> None:
    """Asks to cancel all that waits for a base; reads the question and answers it."""
    queue(page, model).get_by_role("button", name="Purge").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(asked)
    dialog.get_by_role("button", name=answer).click()


def test_a_key_that_is_no_operators_sees_nothing(visit: Visit, made: Fleet) -> None:
    page = visit(made.line.url, "/ops").page
    page.get_by_label("API key", exact=True).fill(made.keys["shop"])
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#trouble")).to_contain_text("`admin`")
    expect(page.locator(".worker, .queue")).to_have_count(0)


def test_a_worker_that_is_killed_is_shown_gone_and_its_job_ends_elsewhere(
    visit: Visit, made: Fleet
) -> None:
    run = made.line
    killed = run.start_painter("killed", bases="sdxl", step_s=0.1)
    visitor = visit(run.url, "/ops")
    page = open_page(visitor, made.keys["operator"])
    job_id = made.submit("app", num_inference_steps=100, loras=[{"id": "woodcut"}])
    run.reached(job_id, lambda job: job["progress"]["step"] > 0)
    card = worker(page, killed.pid)
    expect(card.locator("[data-part=now]")).to_contain_text(f"generates {job_id[:8]}")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    expect(card.locator("[data-part=state]")).to_have_text("gone")
    expect(page.locator("#alarms")).to_contain_text("died")
    # Rescued: it waits, and the page says why.
    expect(queue(page, "sdxl")).to_contain_text(job_id[:8])
    expect(queue(page, "sdxl")).to_contain_text("no worker serves its base")
    expect(card.locator("svg.strip .cross")).to_have_count(1)
    expect(card.locator("svg.strip")).to_have_attribute("aria-label", re.compile("it is gone$"))
    other = run.start_painter("other", bases="sdxl", step_s=0.01)
    ended = run.ended(job_id)
    assert (ended["status"], ended["attempts"]) == ("succeeded", 2)
    expect(worker(page, other.pid).locator("[data-part=now]")).to_contain_text("idle")
    expect(queue(page, "sdxl")).not_to_contain_text(job_id[:8])
    worker(page, other.pid).locator("summary").click()
    ran = worker(page, other.pid).locator("tbody tr").filter(has_text=job_id[:8])
    expect(ran).to_contain_text("woodcut × 1")
    expect(ran).to_contain_text("succeeded")


def test_an_operator_drains_requeues_cancels_sends_again_and_purges(
    ops: Visitor, made: Fleet
) -> None:
    page, run = ops.page, made.line
    painter = run.start_painter("busy", bases="photo,sdxl")
    bad_picture = made.trouble()
    # By the job: what is submitted again fails again, in a row of its own.
    failed = page.get_by_role("button", name=f"Submit job {bad_picture[:8]} again")
    failed.click()
    expect(failed).to_contain_text("again as")
    given_up = page.locator("#undelivered tr").filter(has_text="410")
    given_up.get_by_role("button", name="Send").click()
    expect(page.locator("#said")).to_contain_text("is sent again")
    expect(page.locator("#retried tr").filter(has_text="500")).to_have_count(1)

    card = worker(page, painter.pid)
    card.get_by_role("button", name="Drain").click()
    expect(card.locator("[data-part=state]")).to_have_text("draining")
    hostile = made.submit(HOSTILE, "photo", prompt=HOSTILE, metadata={"a": HOSTILE})
    jobs = [made.submit("shop", "photo", loras=[{"id": "macro"}]) for _ in range(25)]
    photo = queue(page, "photo")
    expect(photo).to_contain_text("every worker of its base was told to take no jobs")
    expect(photo).to_contain_text("and 6 more wait")
    # Names of keys are shown, as the text that they are.
    expect(photo.locator("tr").filter(has_text=hostile[:8])).to_contain_text(HOSTILE)
    photo.get_by_role("button", name=f"Cancel job {hostile[:8]}").click()
    expect(page.locator("#said")).to_contain_text("is canceled")
    expect(photo).not_to_contain_text(hostile[:8])

    purge(page, "photo", "25 jobs with macro × 1", "Keep them")
    assert run.job(jobs[0])["status"] == "queued"
    purge(page, "photo", "25 jobs with macro × 1", "Cancel 25 jobs")
    expect(page.locator("#said")).to_contain_text("25 jobs of photo canceled")
    assert {run.job(job_id)["status"] for job_id in jobs} == {"canceled"}
    card.get_by_role("button", name="Resume").click()
    expect(card.locator("[data-part=state]")).to_have_text("warm")
    expect(page.locator("#usage")).to_contain_text("shop (")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_keeps_nobody_out(visit: Visit, made: Fleet, theme: str, width: int) -> None:
    visitor = visit(made.line.url, "/ops", theme=theme, width=width)
    page = open_page(visitor, made.keys["operator"])
    waiting = [made.submit("shop", loras=[{"id": "pastel"}]) for _ in range(3)]
    expect(queue(page, "sdxl")).to_contain_text(waiting[0][:8])
    assert visitor.overflow() <= 0
    assert visitor.barriers() == []
    for job_id in waiting:
        made.line.http.post(f"/v1/jobs/{job_id}/cancel")
