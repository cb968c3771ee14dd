"""Pictures for tests of jobs that start from one."""

import io

from PIL import Image, ImageDraw


def a_picture(width: int = 96, height: int = 64) -> Image.Image:
    """Two halves and a disc, so that turning, cutting and squeezing show."""
    image = Image.new("RGB", (width, height), (30, 60, 200))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 2, height), fill=(230, 200, 40))
    draw.ellipse((width // 4, height // 4, width // 2, height // 2), fill=(40, 180, 60))
    return image


def encoded(image: Image.Image | None = None, kind: str = "PNG", **options: object) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    (image or a_picture()).save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    """The picture of a file."""
    with Image.open(io.BytesIO(data)) as image:
        return image.copy()
