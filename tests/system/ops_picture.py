"""Makes the picture of the operations page: `python -m tests.system.ops_picture docs/ops.png`."""

import io
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from tests.services.browser import Visitor, chromium
from tests.system.fleet import Fleet, fleet

#: Seconds for which the fleet works before the picture is taken.
WORKS_S = 200
WIDTH, HEIGHT = 1280, 1500
COLOURS = 200


def work(made: Fleet, seconds: float) -> None:
    """Lets four workers run what three keys submit; one is drained, one is killed."""
    run = made.line
    run.start_painter("first", bases="sdxl", step_s=0.25, swap_s=0.8, load_s=4)
    run.start_painter("second", bases="sdxl", step_s=0.2, swap_s=0.6, load_s=3)
    made.flood(16)
    made.trouble()
    run.start_painter("both", bases="sdxl,photo", step_s=0.2, swap_s=0.7, load_s=6)
    lost = run.start_painter("lost", bases="sdxl", step_s=0.3, swap_s=0.6, load_s=2)
    begun = time.monotonic()
    while (past := time.monotonic() - begun) < seconds:
        made.flood(2)
        if past > seconds / 4:
            made.flood(1, "photo")
        if past > seconds / 2 and lost.poll() is None:
            os.killpg(lost.pid, signal.SIGKILL)
            lost.wait()
        time.sleep(3)


def open_page(visitor: Visitor, key: str) -> Page:
    """Shows the page to whoever has this key."""
    visitor.page.goto("/ops")
    visitor.page.get_by_label("API key", exact=True).fill(key)
    visitor.page.get_by_role("button", name="Use it").click()
    visitor.page.locator(".queue").first.wait_for()
    return visitor.page


def save(png: bytes, path: Path) -> None:
    """Writes the picture with few colours: it has few."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def main(path: Path) -> None:
    """Takes the picture."""
    with (
        tempfile.TemporaryDirectory() as folder,
        fleet(Path(folder), LORAJOBS_WEBHOOK_RETRY_S="[60, 300]") as made,
        chromium() as browser,
    ):
        work(made, WORKS_S)
        visitor = Visitor(browser, made.line.url, width=WIDTH, height=HEIGHT)
        page = open_page(visitor, made.keys["operator"])
        expect(page.locator("#usage tr")).not_to_have_count(0)
        save(page.screenshot(), path)
        visitor.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
