"""The picture that a job starts from: opened, and what it means for size and steps."""

import math
from typing import NamedTuple, Protocol

from lorajobs.catalog import Limits, ModelEntry
from lorajobs.document import without_secrets
from lorajobs.errors import FieldError, ValidationFailed
from lorajobs.field_errors import blamed
from lorajobs.image_to_image import RULES, Rule
from lorajobs.request import JobRequest
from lorajobs.source_picture import SourcePicture
from lorajobs.spec import SourceImage


class Sources(Protocol):
    """What planning asks about pictures to start from."""

    def pipeline_of(self, base: ModelEntry) -> str:
        """The class of a base's pipeline.

        Raises: PipelineUnknown.
        """

    def open(self, reference: str) -> SourcePicture:
        """The picture that the `image` of a request names.

        Raises: RequestError, ImageFetchFailed, StorageUnavailable, StoreUnavailable.
        """


class ImageChoice(NamedTuple):
    """The picture, and the fields of the spec that come from it; sizes in pixels."""

    picture: SourcePicture
    image: SourceImage
    strength: float
    width: int
    height: int

    @property
    def fields(self) -> dict[str, object]:
        """Those of the spec."""
        return {name: value for name, value in self._asdict().items() if name != "picture"}


def choose_image(
    request: JobRequest, entry: ModelEntry, sources: Sources | None
) -> ImageChoice | None:
    """Opens the picture of a request; None if it starts from text alone.

    Raises: RequestError, ImageFetchFailed, PipelineUnknown, StorageUnavailable, StoreUnavailable.
    """
    if request.image is None:
        if request.strength is not None:
            raise _wrong("/strength", "give it only with `image`")
        return None
    if sources is None:
        raise _wrong("/image", "pictures to start from are not taken here")
    asked = request.num_inference_steps or entry.defaults.num_inference_steps
    strength = entry.defaults.strength if request.strength is None else request.strength
    with blamed("", "/image"):
        rule = _rule(entry, sources.pipeline_of(entry))
    steps = rule(asked, strength)
    if not steps:
        way_out = f"give at least {math.ceil(1000 / asked) / 1000:g}, or more steps"
        raise _wrong("/strength", f"{strength:g} of {asked} steps is less than one: {way_out}")
    with blamed("", "/image"):
        picture = sources.open(request.image)
    width, height = _size(picture.image.size, request, entry)
    image = SourceImage(
        reference=without_secrets(request.image),
        sha256=picture.sha256,
        width=picture.image.width,
        height=picture.image.height,
        steps=steps,
    )
    return ImageChoice(picture, image, strength, width, height)


def _rule(entry: ModelEntry, pipeline: str) -> Rule:
    if pipeline not in RULES:
        raise _wrong("/image", f"{entry.id} starts from text alone: its pipeline is {pipeline}")
    return RULES[pipeline]


def _size(own: tuple[int, int], request: JobRequest, entry: ModelEntry) -> tuple[int, int]:
    """The size asked for; what is left out keeps the picture's own proportions."""
    limits, (width, height) = entry.limits, own
    if request.width and request.height:
        return request.width, request.height
    if request.width:
        return request.width, _snapped(height * request.width / width, limits)
    if request.height:
        return _snapped(width * request.height / height, limits), request.height
    most = min(1.0, limits.max_size / max(own), math.sqrt(limits.max_pixels / (width * height)))
    scale = max(most, limits.min_size / min(own))
    size = _snapped(width * scale, limits), _snapped(height * scale, limits)
    if max(size) > limits.max_size or math.prod(size) > limits.max_pixels:
        shape = f"its {width}x{height} pixels fit into no size that {entry.id} makes"
        raise _wrong("/image", f"{shape}: give `width` and `height`, and what hangs over is cut")
    return size


def _snapped(side: float, limits: Limits) -> int:
    """The next smaller length that the base makes; what it makes no shorter, a check finds."""
    multiple = limits.multiple_of
    least = math.ceil(limits.min_size / multiple) * multiple
    return max(least, int(side + 1e-6) // multiple * multiple)


def _wrong(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed("", FieldError(pointer, detail))
