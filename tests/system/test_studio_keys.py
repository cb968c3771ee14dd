"""The studio in a real browser, before an API that asks for keys."""

import pytest
from playwright.sync_api import expect

from lorajobs.api_keys import Scope, create
from lorajobs.redis_keys import open_api_keys
from lorajobs.settings import Settings
from tests.services.browser import Visit
from tests.services.line import Line
from tests.system.studio import generate, painted, ready

pytestmark = pytest.mark.system


def test_a_key_is_asked_for_and_kept_for_the_tab(visit: Visit, running: Line) -> None:
    keys = open_api_keys(Settings(redis_url=running.env["LORAJOBS_REDIS_URL"]))
    _, secret = create(keys, "anna", (Scope.SUBMIT, Scope.READ))
    running.until(lambda: not running.answers("/v1/jobs"), "a key is needed")
    # One process says so; the other may remember for a second that there was none.
    running.restart_api()
    visitor = visit(running.url)
    page = visitor.page
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("API key").fill("wrong")
    dialog.get_by_role("button", name="Use it").click()
    expect(dialog.locator("#key-why")).to_have_text("That key is not in use here.")
    dialog.get_by_label("API key").fill(secret)
    page.keyboard.press("Enter")
    ready(page)
    card = generate(page, "a red heart", Steps="30")
    expect(card.locator("[data-part=stage]")).to_contain_text("of 30")
    painted(card)
    card.get_by_role("button", name="Copy curl").click()
    expect(card.get_by_role("button", name="Copied")).to_be_visible()
    assert "Bearer $LORAJOBS_API_KEY" in visitor.clipboard
    assert secret not in visitor.clipboard
    assert secret not in str(page.evaluate("JSON.stringify(localStorage)"))
    page.reload()
    ready(page)
    page.get_by_role("button", name="Forget key").click()
    expect(dialog.get_by_label("API key")).to_be_visible()
