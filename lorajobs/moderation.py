"""Who may say no to a prompt or a picture: checkers of this package or of any installed one.

A package offers its own by an entry point, a callable that takes the `Settings` and returns the
checker. The settings name the one that is used. What cannot be checked is refused, not let through.
"""

import logging
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, Protocol

from PIL.Image import Image

from lorajobs.errors import ConfigError, FieldError, LoraJobsError
from lorajobs.field_errors import listed
from lorajobs.moderation_errors import PromptBlocked, PromptCheckFailed
from lorajobs.settings import Settings
from lorajobs.spec import JobSpec

log = logging.getLogger(__name__)

PROMPT_CHECKERS = "lorajobs.prompt_checkers"
IMAGE_CHECKERS = "lorajobs.image_checkers"
#: Those that come with lorajobs.
_OURS = (
    EntryPoint("words", "lorajobs.word_list:WordList.of", PROMPT_CHECKERS),
    EntryPoint("diffusers", "lorajobs.engine.safety_checker:SafetyChecker.of", IMAGE_CHECKERS),
)
_VARIABLES = {
    PROMPT_CHECKERS: "LORAJOBS_PROMPT_CHECKER",
    IMAGE_CHECKERS: "LORAJOBS_IMAGE_CHECKER",
}


class Verdict(NamedTuple):
    """Whether a prompt may be used; the client is told the reason if it may not."""

    allowed: bool
    reason: str = ""


class Flag(NamedTuple):
    """Whether a picture must not be shown; the client is told the reason, such as a score."""

    nsfw: bool
    reason: str = ""


class PromptChecker(Protocol):
    """Asked at each submit, in a thread of the API: it must be quick and bound its own waits."""

    def check(self, prompt: str, negative_prompt: str) -> Verdict:
        """The verdict on a job's prompt; whatever it raises refuses the submit with 503."""


class ImageChecker(Protocol):
    """Asked once for all pictures of a job, in the worker's child, before any is stored."""

    def check(self, images: Sequence[Image]) -> Sequence[Flag]:
        """A flag for each picture, in order; whatever it raises ends the attempt, to be repeated.

        The pictures are RGB, of pixels as they will be stored; they must be left as they are.
        """


class PromptGate:
    """Lets through what the prompt checker allows; everything, if there is none."""

    def __init__(self, checker: PromptChecker | None = None) -> None:
        self._checker = checker

    @classmethod
    def of(cls, settings: Settings) -> "PromptGate":
        """The gate that the settings name.

        Raises: ConfigError.
        """
        if settings.prompt_words and not settings.prompt_checker:
            raise ConfigError(
                "LORAJOBS_PROMPT_WORDS: no prompt is held against it unless "
                "LORAJOBS_PROMPT_CHECKER is `words`"
            )
        return cls(_open(PROMPT_CHECKERS, settings.prompt_checker, settings))

    def admit(self, spec: JobSpec) -> None:
        """Returns if the prompt may be used.

        Raises: PromptBlocked, PromptCheckFailed.
        """
        if self._checker is None:
            return
        try:
            allowed, reason = self._checker.check(spec.prompt, spec.negative_prompt)
        except Exception as error:
            log.exception("the prompt checker failed")
            raise PromptCheckFailed("the prompt checker failed; the API's log says why") from error
        if allowed is not True:
            detail = reason or "the prompt checker does not allow this prompt"
            log.info("a prompt of %r is refused: %s", spec.owner, detail)
            raise PromptBlocked("", FieldError("/prompt", detail))


def image_checker(settings: Settings) -> ImageChecker | None:
    """The image checker that the settings name, loaded; None if they name none.

    Raises: ConfigError, BaseLoadFailed.
    """
    checker: ImageChecker | None = _open(IMAGE_CHECKERS, settings.image_checker, settings)
    return checker


def require_image_checker(settings: Settings) -> None:
    """Looks only whether the image checker is there, and imports nothing.

    Raises: ConfigError.
    """
    if settings.image_checker:
        _find(IMAGE_CHECKERS, settings.image_checker)


def _find(group: str, name: str) -> EntryPoint:
    every: list[EntryPoint] = [
        *(ours for ours in _OURS if ours.group == group),
        *entry_points(group=group),
    ]
    found = [entry for entry in every if entry.name == name]
    variable = _VARIABLES[group]
    if not found:
        known = listed(name, sorted({entry.name for entry in every}))
        raise ConfigError(f"{variable}: no checker is called {name!r}; installed are {known}")
    if len({entry.value for entry in found}) > 1:
        values = ", ".join(entry.value for entry in found)
        raise ConfigError(f"{variable}: several checkers are called {name!r}: {values}")
    return found[0]


def _open(group: str, name: str | None, settings: Settings) -> Any:  # noqa: ANN401
    if not name:
        return None
    entry = _find(group, name)
    try:
        return entry.load()(settings)
    except LoraJobsError:
        raise
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{_VARIABLES[group]}: {name!r} cannot be used: {problem}") from error
