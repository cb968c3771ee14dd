"""A decoded tensor becomes the very picture that diffusers makes of it."""

import pytest
import torch
from diffusers.image_processor import VaeImageProcessor

from lorajobs.engine.picture import picture_of
from lorajobs.errors import BadPicture


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_has_the_bytes_of_diffusers(dtype: torch.dtype) -> None:
    images = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(1)).to(dtype)
    images[0, 0, 0, :3] = torch.tensor([0.0, 1.0, 0.5 / 255], dtype=dtype)
    theirs = VaeImageProcessor.numpy_to_pil(VaeImageProcessor.pt_to_numpy(images))[0]
    ours = picture_of(images)
    assert (ours.mode, ours.size, ours.tobytes()) == ("RGB", (40, 24), theirs.tobytes())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_tensor_is_no_picture(value: float) -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[0, 1, 2, 3] = value
    with pytest.raises(BadPicture, match="not finite"):
        picture_of(images)
