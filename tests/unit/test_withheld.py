"""What an attempt does with flagged pictures: withheld, counted, and nothing of them stored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL.Image import Image

from lorajobs.cli import main
from lorajobs.ending import Ending
from lorajobs.engine.base import Generation
from lorajobs.engine.paint import PaintEngine
from lorajobs.jobs import Job, Output, Withheld
from lorajobs.moderation import Flag
from lorajobs.report import AttemptReport
from tests.jobs import a_job
from tests.services.scripted_api import Answer, scripted_api
from tests.shop import Shop
from tests.unit.documents import PICTURE, event_stream, job_document, output_document


class Flagging:
    """Flags the pictures of these numbers; None: it has broken down."""

    def __init__(self, numbers: set[int] | None) -> None:
        self._numbers = numbers

    def check(self, images: Sequence[Image]) -> Sequence[Flag]:
        if self._numbers is None:
            raise ConnectionError("the classifier is away")
        return [Flag(number in self._numbers, "too red") for number, _ in enumerate(images)]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def stored(shop: Shop, job: Job) -> list[str]:
    folder = shop.settings.data_dir / "objects" / job.folder
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_other_pictures_are_kept_in_their_places(shop: Shop) -> None:
    job = a_job(num_images=3)
    assert shop.run(job, checker=Flagging({1})) == (Ending.SUCCEEDED, "")
    got = shop.store.get(job.id)
    first, second, third = got.outputs
    assert isinstance(first, Output)
    assert isinstance(third, Output)
    assert second == Withheld(index=1, width=128, height=128, seed=8)
    assert got.pictures == (first, third)
    assert [(o.index, o.seed, o.nsfw) for o in got.outputs] == [
        (0, 7, False),
        (1, 8, True),
        (2, 9, False),
    ]
    assert stored(shop, job) == ["0.png", "2.png"]
    assert [(w.code, w.detail) for w in got.warnings] == [
        ("picture_withheld", "picture 1 is withheld: too red")
    ]
    assert got.metrics.check_s is not None


def test_a_job_of_flagged_pictures_alone_fails_and_is_not_tried_again(shop: Shop) -> None:
    job = a_job(num_images=2)
    assert shop.run(job, checker=Flagging({0, 1}))[0] is Ending.FAILED
    got = shop.store.get(job.id)
    assert got.error is not None
    assert (got.error.code, got.error.retryable, got.attempt) == ("nsfw_blocked", False, 1)
    told = "picture 0 is withheld: too red; picture 1 is withheld: too red"
    assert got.error.detail == f"{told}; another seed or prompt may pass"
    assert (got.outputs, stored(shop, job)) == ((), [])
    assert shop.store.used.usage("key", None)[0].pictures == 0


def test_a_checker_that_fails_lets_nothing_out(shop: Shop) -> None:
    job = a_job()
    endings = []
    for number in range(3):
        endings.append(shop.run(job, ticket=f"t{number}", checker=Flagging(None))[0])
        shop.clock.advance(61)
        shop.store.rescue()
    assert endings == [Ending.REQUEUED, Ending.REQUEUED, Ending.FAILED]
    got = shop.store.get(job.id)
    assert got.error is not None
    assert got.error.code == "picture_check_failed"
    assert got.error.detail == "ConnectionError: the classifier is away"
    assert (got.outputs, stored(shop, job)) == ((), [])


def test_what_the_bases_own_checker_blackened_is_withheld_without_any_setting(shop: Shop) -> None:
    class Blackening(PaintEngine):
        def generate(self, *asked: Any) -> Generation:
            made = super().generate(*asked)
            first, second = made.pictures
            black = first._replace(image=first.image.point(lambda value: 0), nsfw=True)
            return Generation(lambda: [black, second._replace(nsfw=False)], made.warnings)

    engine = Blackening()
    engine.load()
    job = a_job(num_images=2)
    assert shop.run(job, engine=engine)[0] is Ending.SUCCEEDED
    got = shop.store.get(job.id)
    assert [output.nsfw for output in got.outputs] == [True, False]
    assert stored(shop, job) == ["1.png"]


@pytest.mark.parametrize(("flagged", "ending"), [({0}, Ending.SUCCEEDED), ({0, 1}, Ending.FAILED)])
def test_the_parent_hears_how_many_were_flagged(
    shop: Shop, flagged: set[int], ending: Ending
) -> None:
    shop.run(a_job(num_images=2), checker=Flagging(flagged))
    report = next(shop.page.reports.received())
    assert isinstance(report, AttemptReport)
    assert (report.withheld, report.ending) == (len(flagged), ending)


def test_without_a_checker_nobody_has_looked(shop: Shop) -> None:
    job = a_job()
    shop.run(job)
    assert [output.nsfw for output in shop.store.get(job.id).outputs] == [None]


def test_the_commands_tell_of_a_withheld_picture_and_save_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    withheld = output_document("", 0) | dict.fromkeys(("url", "content_type", "sha256"))
    warned = [{"code": "picture_withheld", "detail": "picture 0 is withheld: too red"}]
    with scripted_api() as api:
        outputs = [withheld, output_document(f"{api.url}/picture", 1)]
        done = job_document(outputs=outputs, warnings=warned)
        path = f"/v1/jobs/{done['id']}"
        api.on("POST", "/v1/jobs", Answer(job_document("queued"), 202))
        events = event_stream(("succeeded", done))
        api.on("GET", f"{path}/events", Answer(events, content_type="text/event-stream"))
        api.on("GET", path, Answer(done))
        api.on("GET", "/picture", Answer(PICTURE, content_type="image/png"))
        words = ("submit", "a heart", "--model", "demo", "-o", "heart.png", "--url", api.url)
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        shown = CliRunner().invoke(main, ("status", done["id"], "--url", api.url)).stdout
    assert Path("heart.png").read_bytes() == PICTURE
    assert result.stderr == "warning: picture 0 is withheld: too red\n"
    assert shown.split()[-3:] == ["pictures", "withheld", f"{api.url}/picture"]
