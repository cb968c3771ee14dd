"""How pictures look, in numbers."""

import io
from typing import Any

import httpx
import numpy as np
from PIL import Image


def download(url: str) -> bytes:
    """What a client gets there."""
    reply = httpx.get(url, trust_env=False)
    assert reply.status_code == 200, reply.text
    return reply.content


def pixels(picture: bytes) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """(height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=np.float64)


def blockiness(picture: bytes) -> float:
    """Mean standard deviation inside 8 x 8 blocks."""
    blocks = pixels(picture).reshape(16, 8, 16, 8, 3)
    return float(blocks.std(axis=(1, 3)).mean())


def colour(picture: bytes) -> float:
    """Mean spread between the channels."""
    return float(np.ptp(pixels(picture), axis=2).mean())
