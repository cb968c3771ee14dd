"""Keeps a decoder's weights where they are, whatever diffusers does for a decode.

SDXL's own VAE overflows in half precision (`force_upcast`). diffusers makes its weights single for
each decode and half again afterwards, in other memory than before; when the decode fails, such as
for want of memory, it leaves them single, and no later one works.
"""

from collections.abc import Callable

from diffusers import DiffusionPipeline


def kept_decoder(pipe: DiffusionPipeline) -> Callable[[], None]:
    """Notes where a loaded VAE's weights are; what is returned puts them back, without a copy."""
    vae = pipe.components.get("vae")
    if vae is None or not getattr(vae.config, "force_upcast", False):
        return lambda: None
    own = [(parameter, parameter.data) for parameter in vae.parameters()]

    def put_back() -> None:
        for parameter, weight in own:
            parameter.data = weight

    return put_back
