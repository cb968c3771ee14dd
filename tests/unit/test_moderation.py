"""Checkers of other packages are found, and what a checker fails to say lets nothing through."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from PIL.Image import Image as Picture

from lorajobs.engine.base import Picture as Made
from lorajobs.errors import ConfigError, OutOfMemory
from lorajobs.moderation import (
    Flag,
    ImageChecker,
    PromptGate,
    Verdict,
    image_checker,
    require_image_checker,
)
from lorajobs.moderation_errors import (
    NsfwBlocked,
    PictureCheckFailed,
    PromptBlocked,
    PromptCheckFailed,
)
from lorajobs.screening import require_any, screened
from lorajobs.settings import Settings
from lorajobs.worker import run_worker
from tests.jobs import a_spec
from tests.services.checkers import installed

SIDES = [8, 16, 24]
#: Flags what is as wide as its settings' folder has letters.
PACKAGE = """
from lorajobs.moderation import Flag, Verdict

class Wide:
    def __init__(self, settings):
        self.width = len(settings.data_dir.name)
    def check(self, images):
        return [Flag(image.width == self.width, "as wide as it is") for image in images]

class Shy:
    def check(self, prompt, negative_prompt):
        return Verdict("cat" not in prompt + negative_prompt, "no cats")

def shy(settings):
    return Shy()

def unlucky(settings):
    raise OSError("no such model")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package with checkers; its name, which is that of one of them too."""
    return installed(
        tmp_path / "site",
        monkeypatch,
        PACKAGE,
        {
            "lorajobs.prompt_checkers": {"shy": "shy", "words": "shy"},
            "lorajobs.image_checkers": {"wide": "Wide", "unlucky": "unlucky", "gone": "gone"},
        },
    )


def made(*nsfw: bool | None) -> list[Made]:
    """Pictures of rising size, with what the base's own checker has said of them."""
    images = [Image.new("RGB", (side, side)) for side in SIDES]
    flags = nsfw or (None, None, None)
    return [Made(i, n, f) for n, (i, f) in enumerate(zip(images, flags, strict=True))]


@pytest.mark.usefixtures("package")
def test_an_installed_image_checker_is_made_with_the_settings() -> None:
    settings = Settings(image_checker="wide", data_dir=Path("/data/" + 16 * "x"))
    require_image_checker(settings)
    got = screened(made(), image_checker(settings))
    assert [picture.nsfw for picture in got.pictures] == [False, True, False]
    assert [(w.code, w.detail) for w in got.warnings] == [
        ("picture_withheld", "picture 1 is withheld: as wide as it is"),
    ]
    require_any(got.pictures)


def test_the_documented_checkers_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "moderation.md").read_text()
    source, project = (text.split(f"```{kind}\n")[1].split("```")[0] for kind in ("python", "toml"))
    named = tomllib.loads(project)["project"]["entry-points"]
    points = {
        group: {name: value.removeprefix("our_checkers:") for name, value in entries.items()}
        for group, entries in named.items()
    }
    installed(tmp_path / "site", monkeypatch, source, points)
    checker = image_checker(Settings(image_checker="crimson"))
    assert checker is not None
    flags = checker.check([Image.new("RGB", (9, 9), colour) for colour in ("red", "gray")])
    assert flags == [(True, "100% of it is red"), (False, "0% of it is red")]
    gate = PromptGate.of(Settings(prompt_checker="short"))
    gate.admit(a_spec(prompt=500 * "x"))
    with pytest.raises(PromptBlocked, match="/prompt: use at most 500 characters"):
        gate.admit(a_spec(prompt=501 * "x"))


@pytest.mark.usefixtures("package")
def test_an_installed_prompt_checker_reads_both_prompts() -> None:
    gate = PromptGate.of(Settings(prompt_checker="shy"))
    gate.admit(a_spec(prompt="a dog"))
    with pytest.raises(PromptBlocked) as raised:
        gate.admit(a_spec(prompt="a dog", negative_prompt="cat"))
    assert raised.value.errors == (("/prompt", "no cats"),)


def test_nobody_looks_unless_a_setting_says_who() -> None:
    settings = Settings()
    assert image_checker(settings) is None
    require_image_checker(settings)
    PromptGate.of(settings).admit(a_spec(prompt="anything"))
    assert screened(made(), None) == (made(), [])


@pytest.mark.usefixtures("package")
def test_a_name_that_nobody_has_is_refused_at_the_start() -> None:
    known = "no checker is called 'wied'; installed are `wide`, .*`diffusers`"
    with pytest.raises(ConfigError, match=f"^LORAJOBS_IMAGE_CHECKER: {known}"):
        run_worker(Settings(image_checker="wied"), ["demo"])
    with pytest.raises(ConfigError, match=r"^LORAJOBS_PROMPT_CHECKER: .*`shy`, `words`"):
        PromptGate.of(Settings(prompt_checker="wide"))


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "problem"),
    [("unlucky", "OSError: no such model"), ("gone", "AttributeError: .*gone")],
)
def test_a_checker_that_cannot_be_made_is_refused_at_the_start(name: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"LORAJOBS_IMAGE_CHECKER: '{name}' .*{problem}"):
        image_checker(Settings(image_checker=name))


def test_two_checkers_of_one_name_are_both_named(package: str, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("gun")
    with pytest.raises(ConfigError, match=f"'words': lorajobs.word_list:.*{package}:shy"):
        PromptGate.of(Settings(prompt_checker="words", prompt_words=words))


class Says:
    """A checker that gives the same answer always, or raises it."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def check(self, *asked: object) -> object:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    "answer",
    [ValueError("down"), None, True, Verdict(None), Verdict(1)],  # type: ignore[arg-type]
)
def test_a_prompt_without_a_clear_verdict_is_not_accepted(answer: object) -> None:
    with pytest.raises((PromptCheckFailed, PromptBlocked)) as raised:
        PromptGate(Says(answer)).admit(a_spec())  # type: ignore[arg-type]
    assert isinstance(raised.value, PromptBlocked) == isinstance(answer, Verdict)
    assert "down" not in raised.value.detail


@pytest.mark.parametrize(
    "answer",
    [
        ValueError("down"),
        None,
        [Flag(False)] * 2,
        [Flag(False)] * 4,
        [True, False, False],
        [Flag(False), Flag(None), Flag(False)],  # type: ignore[arg-type]
        [Flag(False), Flag(0.4), Flag(False)],  # type: ignore[arg-type]
    ],
)
def test_no_picture_without_a_clear_flag_goes_on(answer: object) -> None:
    checker: ImageChecker = Says(answer)  # type: ignore[assignment]
    with pytest.raises(PictureCheckFailed) as raised:
        screened(made(), checker)
    assert raised.value.retryable


def test_a_checker_that_is_out_of_memory_says_so() -> None:
    checker: ImageChecker = Says(OutOfMemory("of the GPU"))  # type: ignore[assignment]
    with pytest.raises(OutOfMemory):
        screened(made(), checker)


class Counting:
    """Flags nothing, and remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def check(self, images: Sequence[Picture]) -> Sequence[Flag]:
        self.seen += [image.width for image in images]
        return [Flag(False) for _ in images]


def test_what_the_base_has_flagged_is_not_asked_for_again() -> None:
    checker = Counting()
    got = screened(made(True, False, None), checker)
    assert checker.seen == SIDES[1:]
    assert [picture.nsfw for picture in got.pictures] == [True, False, False]
    assert screened(made(True, True, True), checker).pictures == made(True, True, True)
    assert checker.seen == SIDES[1:]


def test_a_job_of_which_nothing_is_left_is_blocked() -> None:
    got = screened(made(True, True, True), None)
    with pytest.raises(NsfwBlocked) as raised:
        require_any(got.pictures)
    assert "picture 2 is withheld" in raised.value.detail
    assert not raised.value.retryable
