"""Which pipelines of diffusers have an image-to-image twin, and how many steps that one makes.

The API knows it without diffusers; a test holds the table against diffusers' own classes.
"""

from collections.abc import Callable, Mapping

#: Of the steps asked for and the strength, the steps that are made.
Rule = Callable[[int, float], int]


def _whole(steps: int, strength: float) -> int:
    """Only whole steps count."""
    return min(int(steps * strength), steps)


def _begun(steps: int, strength: float) -> int:
    """A step that is begun counts."""
    return steps - int(steps - min(steps * strength, steps))


#: By text-to-image pipeline. In diffusers' own floating point: 0.58 of 50 steps are 28 or 29.
RULES: Mapping[str, Rule] = {
    "StableDiffusionPipeline": _whole,
    "StableDiffusionXLPipeline": _whole,
    "StableDiffusion3Pipeline": _begun,
    "FluxPipeline": _begun,
    "QwenImagePipeline": _begun,
    "ZImagePipeline": _begun,
}
