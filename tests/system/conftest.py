"""What the tests of pages share: a browser, and visitors who must do no harm."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.services.browser import Visitor, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Lets somebody open a page; at the end nothing may be broken and no other host asked."""
    visitors: list[Visitor] = []

    def opened(url: str, path: str = "/", **options: Any) -> Visitor:
        visitor = Visitor(browser, url, **options)
        visitors.append(visitor)
        visitor.page.goto(path)
        return visitor

    yield opened
    for visitor in visitors:
        visitor.leave()
