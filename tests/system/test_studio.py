"""The studio in a real browser, before the whole line with the demo base."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, FilePayload, Route, expect

from tests.lora_files import DEMO_LORAS, lora
from tests.services.browser import Visit, Visitor
from tests.services.curl import RUNNERS, shell
from tests.services.line import Line
from tests.system.fleet import HOSTILE
from tests.system.studio import choose, generate, job_of, painted, ready, remembered, tab_to

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


def test_a_stranger_with_a_keyboard_has_a_picture_with_two_adapters(
    studio: Visitor, running: Line
) -> None:
    page = studio.page
    page.get_by_label("Prompt", exact=True).focus()
    page.keyboard.type("a red heart")
    for name in ("pixel", "soft3d"):
        tab_to(page, page.get_by_role("checkbox", name=name))
        page.keyboard.press("Space")
    scale = page.get_by_role("slider", name="Scale of soft3d")
    tab_to(page, scale)
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    tab_to(page, page.get_by_label("Steps"))
    page.keyboard.type("30")
    tab_to(page, page.get_by_role("button", name="Generate"))
    page.keyboard.press("Enter")
    card = page.locator(".job")
    expect(card.locator("[data-part=stage]")).to_contain_text("of 30")
    expect(card.locator("[data-part=place]")).to_contain_text("left")
    painted(card)
    expect(page.locator("#status")).to_have_text("The picture is ready: a red heart")
    expect(card.locator(".chips")).to_contain_text("pixel × 1")
    expect(card.locator(".chips")).to_contain_text("soft3d × 0.6")
    applied = {one["id"]: one["scale"] for one in job_of(running, card)["applied_loras"]}
    assert applied == {"pixel": 1.0, "soft3d": 0.6}


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_copied_line_and_script_make_the_same_picture(
    studio: Visitor, running: Line, tmp_path: Path, runner: str
) -> None:
    page = studio.page
    choose(page, "pixel", "lineart")
    # What a shell would take for its own.
    prompt = 'it\'s a "red" heart $HOME `id` \\ ö'
    card = generate(page, prompt, Seed="7", Steps="4")
    painted(card)
    original = job_of(running, card)["outputs"][0]["sha256"]
    card.get_by_role("button", name="Copy curl").click()
    expect(card.get_by_role("button", name="Copied")).to_be_visible()
    job = json.loads(shell(studio.clipboard, tmp_path, runner))
    assert job["input"]["prompt"] == prompt
    again = running.ended(job["id"])
    assert [output["sha256"] for output in again["outputs"]] == [original]
    if runner == RUNNERS[0]:
        card.get_by_role("button", name="Copy Python").click()
        expect(card.get_by_role("button", name="Copied")).to_have_count(1)
        expect(page.locator("#status")).to_have_text("Copied.")
        script = studio.clipboard
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / done.stdout.strip()).read_bytes().startswith(b"\x89PNG")


def test_a_job_is_canceled_and_its_place_is_told(studio: Visitor, running: Line) -> None:
    page = studio.page
    first = generate(page, "a rocket", Steps="100", Width="256", Height="256")
    first_id = first.get_attribute("data-job")
    running.reached(str(first_id), lambda job: job["status"] == "running")
    second = generate(page, "a cat")
    expect(second.locator("[data-part=stage]")).to_have_text("Position 1")
    expect(second.locator("[data-part=place]")).to_contain_text("other jobs")
    second.get_by_role("button", name="Cancel").click()
    expect(second.locator("header .chip")).to_have_text("canceled")
    first = page.locator(f'[data-job="{first_id}"]')
    expect(first.locator("[data-part=stage]")).to_contain_text("of 100")
    answers: list[APIResponse] = []

    def late(route: Route) -> None:
        """What the API answers arrives after the job's last event."""
        answers.append(route.fetch())
        expect(first.locator("header .chip")).to_have_text("canceled")
        route.fulfill(response=answers[0])

    page.route("**/cancel", late)
    with page.expect_request_finished(lambda request: request.url.endswith("/cancel")):
        first.get_by_role("button", name="Cancel").click()
    assert [answer.json()["status"] for answer in answers] == ["running"]
    assert job_of(running, first)["status"] == "canceled"
    # Also after a reload: the browser knows its jobs.
    for look_again in (lambda: None, page.reload):
        look_again()
        expect(page.locator(".job header .chip")).to_have_text(["canceled", "canceled"])


def test_again_and_another_seed(studio: Visitor, running: Line) -> None:
    page = studio.page
    card = generate(page, "a star", Steps="2")
    seed = job_of(running, card)["input"]["seed"]
    card.get_by_role("button", name="Again").click()
    expect(page.locator(".job")).to_have_count(2)
    assert job_of(running, page.locator(".job").first)["input"]["seed"] == seed
    card.get_by_role("button", name="Vary seed").click()
    expect(page.locator(".job")).to_have_count(3)
    assert job_of(running, page.locator(".job").first)["input"]["seed"] != seed
    expect(page.locator(".job.ended")).to_have_count(3)
    card = page.locator(".job").first
    card.get_by_text("All parameters").click()
    card.get_by_role("button", name="Erase").click()
    expect(page.locator(".job")).to_have_count(2)


def test_one_prompt_and_seed_across_all_adapters(studio: Visitor, running: Line) -> None:
    page = studio.page
    page.get_by_label("Prompt", exact=True).fill("birthday cake")
    page.get_by_label("Steps").fill("4")
    page.get_by_role("button", name="Compare adapters").click()
    cells = page.locator(".sheet .cell")
    expect(cells.locator("h4")).to_have_text(["base alone", "lineart", "pixel", "soft3d"])
    expect(cells.locator(".job.ended")).to_have_count(4)
    expect(cells.locator(".chips")).to_have_text(
        ["base alone", "lineart × 1", "pixel × 1", "soft3d × 1"]
    )
    jobs = [job_of(running, card) for card in cells.locator(".job").all()]
    assert len({job["input"]["seed"] for job in jobs}) == 1
    assert len({job["outputs"][0]["sha256"] for job in jobs}) == 4


def test_what_is_refused_says_so_at_its_field(studio: Visitor, tmp_path: Path) -> None:
    page = studio.page
    page.get_by_label("Prompt", exact=True).fill("a heart")
    page.get_by_label("Width").fill("100")
    page.get_by_label("Seed").fill("soon")
    choose(page, "pixel")
    page.get_by_label("Scale of pixel as a number").fill("9")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#recipe-seed-error")).to_contain_text("integer")
    expect(page.locator(".use .error")).to_contain_text("-5 to 5")
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Scale of pixel as a number").fill("1")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#recipe-width-error")).to_contain_text("32")
    expect(page.get_by_label("Width")).to_be_focused()
    expect(page.get_by_label("Width")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".job")).to_have_count(0)
    assert studio.barriers() == []


def test_a_refused_adapter_says_why(studio: Visitor, tmp_path: Path) -> None:
    page = studio.page
    page.get_by_role("button", name="Add an adapter").click()
    form = page.get_by_role("dialog")
    wrong = tmp_path / f"{HOSTILE.replace('/', '')}.safetensors"
    wrong.write_bytes(b"no weights at all")
    form.get_by_label("Weights").set_input_files(wrong)
    form.get_by_role("button", name="Add").click()
    expect(form.locator("#adapter-file-error")).to_contain_text("safetensors")
    form.get_by_label("the hub or a URL").check()
    form.get_by_label("Reference").fill("https://127.0.0.1/x.safetensors")
    form.get_by_label("Name here").fill("!")
    form.get_by_role("button", name="Add").click()
    expect(form.locator("#adapter-id-error")).to_contain_text("letters, digits")
    form.get_by_label("Name here").fill("mine")
    form.get_by_role("button", name="Add").click()
    expect(form.locator("#adapter-source-error")).not_to_be_empty()
    expect(page.locator("#adapters")).not_to_contain_text("mine")


def test_what_users_wrote_stays_text(studio: Visitor, running: Line) -> None:
    page = studio.page
    page.get_by_role("button", name="Add an adapter").click()
    form = page.get_by_role("dialog")
    data = (DEMO_LORAS / "pixel.safetensors").read_bytes()
    file = FilePayload(name=f"{HOSTILE[:30]}.safetensors", mimeType="", buffer=data)
    form.get_by_label("Weights").set_input_files(file)
    expect(form.get_by_label("Name here")).to_have_value("img-src-x-onerror-alert-1-")
    form.get_by_label("Name here").fill("hostile")
    form.get_by_label("Trigger words").fill(HOSTILE)
    form.get_by_label("Licence").fill(HOSTILE)
    form.get_by_role("button", name="Add").click()
    expect(form).not_to_be_visible()
    tile = page.locator("#adapters li").filter(has_text="hostile")
    expect(tile).to_contain_text(f"{HOSTILE} · {HOSTILE}")
    page.get_by_role("button", name=f"+ {HOSTILE}").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(HOSTILE)
    card = generate(page, HOSTILE, Steps="2")
    expect(card.locator(".prompt")).to_have_text(HOSTILE)
    painted(card)
    told = running.submit(HOSTILE, metadata={HOSTILE[:64]: HOSTILE}, num_inference_steps=2)
    card = remembered(page, told["id"])
    card.get_by_text("All parameters").click()
    expect(card.locator("dl")).to_contain_text(f"metadata: {HOSTILE[:64]}{HOSTILE}")
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script").count() == 2
    running.http.delete("/v1/loras/hostile").raise_for_status()


def test_an_adapter_that_was_left_out_is_not_claimed(studio: Visitor, running: Line) -> None:
    wrong = running.folder / "wrong.safetensors"
    wrong.write_bytes(lora())
    loras = [{"path": str(wrong)}, {"id": "pixel"}]
    job = running.submit(loras=loras, on_lora_error="skip")
    card = remembered(studio.page, job["id"])
    painted(card)
    expect(card.locator(".notice.warn")).to_contain_text("wrong.safetensors")
    expect(card.locator(".chips li")).to_have_text(["pixel × 1", f"{wrong}: not applied"])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_kept_out(visit: Visit, running: Line, theme: str) -> None:
    """A phone is 360 px wide, and axe finds no barrier, in either theme."""
    visitor = visit(running.url, width=360, height=740, theme=theme)
    page = visitor.page
    ready(page)
    assert visitor.overflow() <= 0
    choose(page, "pixel")
    page.get_by_text("More settings").click()
    card = generate(page, f"heart {'x' * 200}", Steps="2")
    painted(card)
    card.get_by_text("All parameters").click()
    assert visitor.overflow() <= 0
    assert visitor.barriers() == []
    page.get_by_role("button", name="Add an adapter").click()
    assert visitor.barriers() == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Add an adapter")).to_be_focused()
    page.evaluate("document.body.append(document.createElement('button'))")
    # It would find one.
    assert visitor.barriers() == ["button-name: <button></button>"]
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Switch between").click()
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
