"""Decoded tensors become the very pictures that diffusers makes of them."""

import pytest
import torch
from diffusers.image_processor import VaeImageProcessor

from lorajobs.engine.picture import sent
from lorajobs.errors import BadPicture

LATENTS = torch.zeros(1, 4, 3, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_they_have_the_bytes_of_diffusers(dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(1)).to(dtype)
    images[0, 0, 0, :3] = torch.tensor([0.0, 1.0, 0.5 / 255], dtype=dtype)
    theirs = VaeImageProcessor.numpy_to_pil(VaeImageProcessor.pt_to_numpy(images))
    for ours, other in zip(sent(LATENTS, images)(), theirs, strict=True):
        assert (ours.mode, ours.size, ours.tobytes()) == ("RGB", (40, 24), other.tobytes())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("what", ["latents", "decoded pictures"])
def test_a_broken_tensor_is_no_picture(value: float, what: str) -> None:
    latents, images = LATENTS.clone(), torch.zeros(1, 3, 8, 8)
    broken = latents if what == "latents" else images
    broken[0, 1, 2, 3] = value
    coming = sent(latents, images)
    with pytest.raises(BadPicture, match=f"the {what} are not finite"):
        coming()
