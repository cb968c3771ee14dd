from typing import Any

from PIL import Image

from lorajobs.demo.sheet import CELL, LEFT, TOP, contact_sheet
from lorajobs.demo.showcase import Result, Shot, count_swaps
from tests.unit.documents import job_document, output_document


def _ran(second: int, *loras: tuple[str, float]) -> dict[str, Any]:
    applied = [{"id": sha, "revision": "", "sha256": sha, "scale": scale} for sha, scale in loras]
    return job_document(started_at=f"2026-11-22T07:00:{second:02}.000Z", applied_loras=applied)


def test_a_swap_is_each_change_of_the_applied_set_in_the_order_of_starts() -> None:
    pixel = ("pixel", 1.0)
    assert count_swaps([]) == 0
    assert count_swaps([_ran(1), _ran(2)]) == 0
    assert count_swaps([_ran(1, pixel), _ran(2, pixel)]) == 1
    assert count_swaps([_ran(1, pixel), _ran(2), _ran(3, pixel)]) == 3
    assert count_swaps([_ran(1, pixel), _ran(3), _ran(2, pixel)]) == 2
    assert count_swaps([_ran(1, pixel), _ran(2, ("pixel", 0.5))]) == 2


def test_a_job_that_never_ran_is_no_swap() -> None:
    assert count_swaps([_ran(1, ("p", 1.0)), job_document("canceled")]) == 1


def test_the_report_of_a_job_has_the_fields_that_readers_expect() -> None:
    job = job_document(outputs=[output_document("http://x/y")])
    report = Result(Shot("a red heart", "pixel"), job, b"data").report()
    assert list(report) == [
        *("id", "prompt", "loras", "seed", "status", "file", "sha256"),
        *("queue_s", "swap_s", "generate_s", "upload_s"),
    ]
    assert report["loras"] == [{"id": "pixel", "scale": 1.0}]
    assert report["file"] == "a-red-heart-pixel.png"


def test_the_report_of_a_failed_job_names_no_file() -> None:
    report = Result(Shot("a rocket", "base alone"), job_document("failed"), None).report()
    assert (report["loras"], report["file"], report["sha256"]) == ([], None, None)


def test_the_sheet_shows_each_picture_at_its_place() -> None:
    red = Image.new("RGB", (128, 128), (255, 0, 0))
    sheet = contact_sheet(["one", "two"], ["left", "right"], {("two", "right"): red})
    size = CELL // 2
    step = (sheet.width - LEFT) // 2
    centre = {
        (row, column): sheet.getpixel((LEFT + column * step + size, TOP + row * step + size))
        for row in (0, 1)
        for column in (0, 1)
    }
    assert centre.pop((1, 1)) == (255, 0, 0)
    assert set(centre.values()) == {(225, 225, 230)}
