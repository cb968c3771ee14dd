"""Pictures as files: encoded, and carrying the text that makes them again."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from lorajobs import __version__
from lorajobs.jobs import AppliedLora
from lorajobs.spec import JobSpec, OutputFormat

_CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
#: Level 1 takes two thirds of the time of Pillow's default 6 for a file a few percent larger.
_PNG_LEVEL = 1
_IMAGE_DESCRIPTION = 0x010E
#: JPEG holds EXIF in one segment of 65,533 bytes.
_EXIF_BYTES = 60_000
#: Characters each text is cut to where all of them do not fit; JSON writes up to 12 bytes for one.
_EXIF_CHARACTERS = 1_500


class EncodedPicture(NamedTuple):
    """One picture as a file; width and height in pixels, sha256 in hex."""

    data: bytes
    content_type: str
    width: int
    height: int
    sha256: str


def describe(spec: JobSpec, seed: int, applied: Sequence[AppliedLora]) -> dict[str, str]:
    """What a picture says of itself: the request's own field names, numbers and lists as JSON."""
    loras = [{"id": lora.id, "sha256": lora.sha256, "scale": lora.scale} for lora in applied]
    image = spec.image
    start = {"image_sha256": image.sha256, "strength": str(spec.strength)} if image else {}
    return {
        "Software": f"lorajobs {__version__}",
        "model": spec.model,
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt,
        "loras": json.dumps(loras),
        "seed": str(seed),
        "num_inference_steps": str(spec.num_inference_steps),
        "guidance_scale": str(spec.guidance_scale),
        "scheduler": spec.scheduler or "",
        **start,
    }


def encode(
    image: Image.Image, output: OutputFormat, text: Mapping[str, str] | None
) -> EncodedPicture:
    """Encodes a picture; PNG carries each text in a chunk, JPEG and WebP all of it as JSON in EXIF.

    EXIF is small: where the texts do not fit, each is cut.
    """
    buffer = io.BytesIO()
    if output.format == "png":
        chunks = PngInfo()
        for key, value in (text or {}).items():
            # Latin-1 becomes tEXt, anything else iTXt; a NUL would end the chunk's text.
            chunks.add_text(key, value.replace("\0", ""))
        image.save(buffer, "PNG", compress_level=_PNG_LEVEL, pnginfo=chunks)
    else:
        exif = Image.Exif()
        if text:
            exif[_IMAGE_DESCRIPTION] = _json(text)
        image.convert("RGB").save(
            buffer, output.format.upper(), quality=output.quality, exif=exif.tobytes()
        )
    data = buffer.getvalue()
    return EncodedPicture(
        data=data,
        content_type=_CONTENT_TYPES[output.format],
        width=image.width,
        height=image.height,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def read_text(data: bytes) -> dict[str, str]:
    """The text that a picture of `encode` carries; empty for a picture without any.

    Raises: ValueError if the bytes are no picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            chunks = dict(getattr(image, "text", {}))
            description = image.getexif().get(_IMAGE_DESCRIPTION)
    except UnidentifiedImageError as error:
        raise ValueError("not a picture") from error
    if not description:
        return {key: str(value) for key, value in chunks.items()}
    return {key: str(value) for key, value in json.loads(description).items()}


def _json(text: Mapping[str, str]) -> str:
    # EXIF texts are ASCII, which is how JSON comes by default.
    whole = json.dumps(dict(text))
    if len(whole) <= _EXIF_BYTES:
        return whole
    return json.dumps({key: value[:_EXIF_CHARACTERS] for key, value in text.items()})
