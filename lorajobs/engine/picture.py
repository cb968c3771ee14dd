"""From a decoded tensor to a picture in memory."""

import torch
from PIL import Image

from lorajobs.errors import BadPicture


def picture_of(images: torch.Tensor) -> Image.Image:
    """The one picture of a tensor [1, 3, height, width] from 0 to 1, to the byte as diffusers' own.

    It is turned into bytes where it was decoded: on a CPU that takes 40 ms at 1024 px, and four
    times the bytes have to come from the GPU. Raises: BadPicture if it is not finite.
    """
    if not bool(torch.isfinite(images).all()):
        raise BadPicture("the decoded picture is not finite (NaN or infinite)")
    pixels = (images[0].permute(1, 2, 0).float() * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.cpu().numpy())
