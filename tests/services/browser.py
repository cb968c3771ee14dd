"""Debian's Chromium, driven by Playwright, and whatever its pages ask, log and break."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

#: As the distributions call it.
NAMES = ("chromium", "chromium-browser", "google-chrome")
#: For a machine that does other things too.
PATIENCE_MS = 60_000
#: What `img-src` lets a page make itself.
OWN = ("blob", "data")
#: An answer that is an error is no error of the page.
EXPECTED = "Failed to load resource: the server responded with a status of"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window, ended at the end.

    Raises: AssertionError without one on the machine.
    """
    path = next(filter(None, map(shutil.which, NAMES)), None)
    assert path, "`make test-system` installs Chromium"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visitor:
    """Somebody with a browser of their own: nothing is stored in it yet."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        width: int = 1280,
        height: int = 900,
        theme: Literal["light", "dark"] = "light",
        **options: Any,
    ) -> None:
        """`options` are those of Playwright's `new_context`."""
        self.url = url
        self.context: BrowserContext = browser.new_context(
            base_url=url,
            viewport={"width": width, "height": height},
            color_scheme=theme,
            permissions=["clipboard-read", "clipboard-write"],
            **options,
        )
        #: every URL that was asked for
        self.asked: list[str] = []
        #: errors of scripts, and what the browser refused by the page's policy
        self.broken: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.broken.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("dialog", lambda dialog: self._refuse(dialog))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(EXPECTED):
            self.broken.append(message.text)

    def _refuse(self, dialog: Any) -> None:
        self.broken.append(f"alert: {dialog.message}")
        dialog.dismiss()

    @property
    def clipboard(self) -> str:
        """What was copied."""
        return str(self.page.evaluate("navigator.clipboard.readText()"))

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(
            self.page.evaluate("document.documentElement.scrollWidth - document.body.clientWidth")
        )

    def barriers(self) -> list[str]:
        """What axe finds that keeps people out: serious or critical."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {node['html']}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    def leave(self) -> None:
        """Closes the browser's window.

        Raises: AssertionError if another host was asked, or a script failed.
        """
        self.context.close()
        assert self.broken == []
        own = urlsplit(self.url).netloc
        parts = [urlsplit(url) for url in self.asked]
        assert [p.geturl() for p in parts if p.scheme not in OWN and p.netloc != own] == []


#: Lets somebody open a page of the site at a URL: `visit(url, path, **options)`.
Visit = Callable[..., Visitor]
