"""What the tests of pages share: a browser, visitors who must do no harm, the studio's line."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.services.browser import Visit, Visitor, chromium
from tests.services.line import Line, line
from tests.services.valkey import valkey
from tests.system.studio import ready


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The whole line with the demo base."""
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        folder = tmp_path_factory.mktemp("studio")
        roots = json.dumps([str(folder)])
        env = {"LORAJOBS_REDIS_URL": server.url, "LORAJOBS_LORA_ROOTS": roots}
        with line(folder, **env) as made:
            made.start_api()
            made.start_worker()
            yield made


@pytest.fixture
def studio(visit: Visit, running: Line) -> Visitor:
    """Somebody who looks at its studio."""
    visitor = visit(running.url)
    ready(visitor.page)
    return visitor
