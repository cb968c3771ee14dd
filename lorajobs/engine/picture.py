"""From decoded tensors to pictures in memory."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image

from lorajobs.engine.base import Picture
from lorajobs.errors import BadPicture


def sent(latents: torch.Tensor, images: torch.Tensor) -> Callable[[], Sequence[Image.Image]]:
    """Sends the pictures [number, 3, height, width], from 0 to 1, on their way to the host.

    What is returned waits for them, in any thread, and gives the bytes that diffusers' own way
    gives. They are made where the pictures were decoded: on a CPU that takes 40 ms at 1024 px, and
    four times the bytes have to come from the GPU. `latents` [number, ...] are what they were
    decoded from. Raises when it is waited for: BadPicture if any is not finite.
    """
    on_gpu = images.device.type == "cuda"
    finite = [torch.isfinite(tensor).all() for tensor in (latents, images)]
    # In their final order, which costs nothing there; the host would hold Python's lock for 4 ms.
    pixels = (images.permute(0, 2, 3, 1).float() * 255).round().to(torch.uint8).contiguous()
    # Into pinned memory, so that the host goes on meanwhile.
    sure, here = (t.to("cpu", non_blocking=on_gpu) for t in (torch.stack(finite), pixels))
    arrived = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
    if arrived is not None:
        arrived.record(torch.cuda.current_stream(images.device))

    def pictures() -> Sequence[Image.Image]:
        if arrived is not None:
            arrived.synchronize()
        for name, is_finite in zip(("latents", "decoded pictures"), sure.tolist(), strict=True):
            if not is_finite:
                raise BadPicture(f"the {name} are not finite (NaN or infinite)")
        return [Image.fromarray(one) for one in here.numpy()]

    return pictures


def looked_at(image: Image.Image, seed: int, flag: bool | None) -> Picture:
    """A picture and what the base's own checker says of it, None if there is none.

    Raises: BadPicture if it has a single colour.
    """
    if flag:
        # Of what it flags, that one leaves a black picture.
        return Picture(image, seed, True, "the base's own safety checker flagged it")
    if image.getcolors(1):
        raise BadPicture("every pixel of the picture is the same")
    return Picture(image, seed, None if flag is None else False)
