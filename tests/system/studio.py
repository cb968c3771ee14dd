"""What people do on the studio's page."""

from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.services.line import Line


def ready(page: Page) -> None:
    """Waits until the page knows what there is."""
    expect(page.get_by_role("checkbox", name="pixel")).to_be_visible()


def choose(page: Page, *names: str) -> None:
    """Chooses adapters."""
    for name in names:
        page.get_by_role("checkbox", name=name).check(force=True)


def generate(page: Page, prompt: str, **fields: str) -> Locator:
    """Submits; returns the job's card."""
    for label, value in {"Prompt": prompt, **fields}.items():
        page.get_by_label(label, exact=True).fill(value)
    before = page.locator(".job").count()
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".job")).to_have_count(before + 1)
    return page.locator(".job").first


def job_of(running: Line, card: Locator) -> dict[str, Any]:
    """What the API tells of a card's job."""
    return running.job(str(card.get_attribute("data-job")))


def painted(card: Locator) -> None:
    """Waits for the picture, which has pixels, and not all of one colour."""
    expect(card.locator("img")).to_be_visible()
    colours = card.locator("img").evaluate(
        """async (image) => {
          await image.decode();
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
          const context = canvas.getContext("2d");
          context.drawImage(image, 0, 0);
          const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )
    assert colours > 50


def tab_to(page: Page, target: Locator) -> None:
    """Goes there by the Tab key alone."""
    for _ in range(60):
        if target.evaluate("(element) => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("the Tab key does not lead there")


def remembered(page: Page, job_id: str) -> Locator:
    """The card of a job that somebody else submitted, in a browser that takes it for its own."""
    remember = "(id) => localStorage.setItem('lorajobs.jobs', JSON.stringify([{id}]))"
    page.evaluate(remember, job_id)
    page.reload()
    return page.locator(".job")
