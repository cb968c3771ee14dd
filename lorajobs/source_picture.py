"""Pictures that clients send: read with care, turned upright, fitted to a size."""

import hashlib
import io
import re
from typing import NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

from lorajobs.image_errors import ImageInvalid, ImageTooLarge

#: What is read, as Pillow calls it; phones write JPEGs with a second picture inside (MPO).
CONTENT_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "WEBP": "image/webp",
}
#: Pillow's modes of eight bits a channel; converting others would cut them off.
_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"})
_PNG_LEVEL = 1
#: What begins a scan of a JPEG, by the one length that its header may have.
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
#: Encoders write about ten. Each costs a walk over the whole picture and, if it is empty, hardly a
#: byte, so that a file of the allowed size could keep a decoder busy for hours.
_MAX_SCANS = 100


class SourcePicture(NamedTuple):
    """A picture as a client sent it, upright and in RGB, and what its file was."""

    image: Image.Image
    #: of the file as it was sent
    sha256: str
    content_type: str

    def fitted(self, width: int, height: int) -> bytes:
        """The picture as a PNG of this size: scaled until it covers it, what hangs over cut off.

        A picture of these proportions is the one that diffusers makes of it, pixel by pixel.
        """
        image = ImageOps.fit(self.image, (width, height), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=_PNG_LEVEL)
        return buffer.getvalue()


def read_picture(data: bytes, max_pixels: int) -> SourcePicture:
    """Decodes a PNG, JPEG or WebP whole; what is transparent becomes white.

    Raises: ImageInvalid, ImageTooLarge.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as opened:
            # Nothing but the header was read so far.
            _require_readable(opened, max_pixels)
            if opened.format in ("JPEG", "MPO"):
                _require_few_scans(data)
            kind = CONTENT_TYPES[str(opened.format)]
            # In place: a copy of what is allowed takes a hundred megabytes.
            ImageOps.exif_transpose(opened, in_place=True)
            image = _on_white(opened)
    except (ImageInvalid, ImageTooLarge, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"it has more than the {max_pixels:,} pixels allowed") from error
    except UnidentifiedImageError as error:
        raise ImageInvalid("it is no PNG, JPEG or WebP") from error
    except Exception as error:
        # A broken file meets every kind of error in the codecs.
        raise ImageInvalid(f"it cannot be decoded: {error}") from error
    return SourcePicture(image, hashlib.sha256(data).hexdigest(), kind)


def opened(png: bytes) -> Image.Image:
    """What `fitted` made.

    Raises: OSError, if it was damaged since.
    """
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        image.load()
        return image.copy()


def _require_readable(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        found = f"{image.width}x{image.height} pixels"
        raise ImageTooLarge(f"it has {found}, allowed are {max_pixels:,} in all")
    if image.mode not in _MODES:
        raise ImageInvalid(f"it has the mode {image.mode}; save it with 8 bits per channel")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ImageInvalid("it is animated; send one frame")


def _require_few_scans(data: bytes) -> None:
    scans = sum(1 for _ in _SCAN.finditer(data))
    if scans > _MAX_SCANS:
        raise ImageInvalid(f"it is a JPEG of {scans:,} scans; save it anew, with fewer")


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(clear, mask=clear)
    return white
