"""Every picture before it leaves the worker: flagged ones are withheld, the others go on."""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL.Image import Image

from lorajobs.engine.base import Picture
from lorajobs.errors import LoraJobsError
from lorajobs.jobs import JobWarning
from lorajobs.moderation import Flag, ImageChecker
from lorajobs.moderation_errors import NsfwBlocked, PictureCheckFailed

log = logging.getLogger(__name__)


class Screened(NamedTuple):
    """What came through, with what is told of it."""

    pictures: Sequence[Picture]
    warnings: Sequence[JobWarning]


def screened(made: Sequence[Picture], checker: ImageChecker | None) -> Screened:
    """The same pictures, each with what the checker says of it, and a warning for each flagged one.

    What the base's own safety checker has flagged stays flagged.
    Raises: PictureCheckFailed, OutOfMemory.
    """
    pictures = list(made)
    unflagged = [index for index, picture in enumerate(pictures) if not picture.nsfw]
    if checker is not None and unflagged:
        flags = _flags([pictures[index].image for index in unflagged], checker)
        for index, (nsfw, reason) in zip(unflagged, flags, strict=True):
            pictures[index] = pictures[index]._replace(nsfw=bool(nsfw), reason=reason)
    warnings = [JobWarning(code="picture_withheld", detail=told) for told in _withheld(pictures)]
    return Screened(pictures, warnings)


def require_any(pictures: Sequence[Picture]) -> None:
    """Returns if a picture is left to show.

    Raises: NsfwBlocked saying why not.
    """
    if all(picture.nsfw for picture in pictures):
        told = "; ".join(_withheld(pictures))
        raise NsfwBlocked(f"{told}; another seed or prompt may pass")


def _withheld(pictures: Sequence[Picture]) -> Iterator[str]:
    for index, (_, _, nsfw, reason) in enumerate(pictures):
        if nsfw:
            yield f"picture {index} is withheld: {reason or 'the image checker flagged it'}"


def _flags(images: Sequence[Image], checker: ImageChecker) -> Sequence[Flag]:
    try:
        flags = [Flag(*flag) for flag in checker.check(images)]
    except (LoraJobsError, MemoryError):
        # What it means is known, such as a GPU out of memory.
        raise
    except Exception as error:
        log.exception("the image checker failed")
        raise PictureCheckFailed(f"{type(error).__name__}: {error}") from error
    if len(flags) != len(images):
        raise PictureCheckFailed(f"the checker gave {len(flags)} flags for {len(images)} pictures")
    if any(flag.nsfw not in (True, False) for flag in flags):
        raise PictureCheckFailed("the checker gave a flag that is neither true nor false")
    return flags
