"""Makes the pictures of the studio in docs/: `python -m tests.system.studio_pictures`."""

import io
import tempfile
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.services.browser import Visitor, chromium
from tests.services.line import line
from tests.services.valkey import valkey
from tests.system.ops_picture import save
from tests.system.studio import choose, generate, painted, ready

DOCS = Path(__file__).parents[2] / "docs"
GAP, PAPER = 24, (128, 132, 140)


def work(page: Page) -> None:
    """Lets somebody try the adapters; the last job is still running."""
    ready(page)
    page.get_by_label("Prompt", exact=True).fill("birthday cake")
    page.get_by_label("Seed").fill("7")
    page.get_by_role("button", name="Compare adapters").click()
    expect(page.locator(".sheet .job.ended")).to_have_count(4)
    choose(page, "soft3d")
    painted(generate(page, "grinning cat", Seed="7"))
    choose(page, "lineart")
    page.get_by_label("Scale of lineart as a number").fill("0.6")
    painted(generate(page, "grinning cat", Seed="7"))
    last = generate(page, "a red heart", Seed="3", Steps="40")
    expect(last.locator("[data-part=stage]")).to_contain_text("of 40")
    expect(last.locator("[data-part=place]")).to_contain_text("left")


def shot(
    browser: Browser, url: str, theme: Literal["light", "dark"], width: int, height: int
) -> list[bytes]:
    """The page from its top, and from its pictures on."""
    visitor = Visitor(browser, url, theme=theme, width=width, height=height)
    page = visitor.page
    page.goto("/")
    work(page)
    page.evaluate("document.activeElement.blur()")
    page.locator("#recipe").evaluate("(form) => form.scrollTo(0, 0)")
    shots = []
    for place in ("main", "#made-title"):
        page.locator(place).evaluate("(element) => element.scrollIntoView()")
        if place == "main":
            page.evaluate("scrollTo(0, 0)")
        shots.append(page.screenshot())
    visitor.leave()
    return shots


def beside(shots: list[bytes]) -> bytes:
    """The pictures in a row."""
    images = [Image.open(io.BytesIO(one)).convert("RGB") for one in shots]
    width = sum(image.width for image in images) + GAP * (len(images) + 1)
    row = Image.new("RGB", (width, images[0].height + 2 * GAP), PAPER)
    for index, image in enumerate(images):
        row.paste(image, (GAP + index * (image.width + GAP), GAP))
    made = io.BytesIO()
    row.save(made, "PNG")
    return made.getvalue()


def main() -> None:
    """Takes them."""
    with (
        tempfile.TemporaryDirectory() as folder,
        valkey(Path(folder)) as server,
        line(Path(folder), LORAJOBS_REDIS_URL=server.url) as running,
        chromium() as browser,
    ):
        running.start_api()
        running.start_worker()
        save(shot(browser, running.url, "light", 1280, 1000)[0], DOCS / "studio.png")
        save(shot(browser, running.url, "dark", 1280, 1000)[0], DOCS / "studio-dark.png")
        phone = shot(browser, running.url, "light", 375, 812)
        save(beside(phone), DOCS / "studio-phone.png")


if __name__ == "__main__":
    main()
