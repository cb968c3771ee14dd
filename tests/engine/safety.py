"""Diffusers' safety checker with a few random weights, for which a picture of ours is a concept."""

from pathlib import Path

import torch
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL.Image import Image

SIDE = 32


def processor() -> "transformers.CLIPImageProcessor":
    """Pictures as the tiny model sees them."""
    return transformers.CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )


def checker(concept: Image, fine: Image) -> StableDiffusionSafetyChecker:
    """A model of which `concept` is one concept, with a threshold above what `fine` has of it."""
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
    }
    torch.manual_seed(0)
    config = transformers.CLIPConfig(vision_config=vision, projection_dim=8)
    model = StableDiffusionSafetyChecker(config).eval()
    with torch.no_grad():
        pixels = processor()([concept, fine], return_tensors="pt").pixel_values
        found = model.visual_projection(model.vision_model(pixels).pooler_output)
        close = float(torch.nn.functional.cosine_similarity(found[0], found[1], dim=0))
        assert close < 0.99, close
        model.concept_embeds[5] = found[0]
        # No cosine is above 1: the other concepts are never met.
        model.concept_embeds_weights.fill_(2.0)
        model.concept_embeds_weights[5] = (1 + close) / 2
        model.special_care_embeds_weights.fill_(2.0)
    return model


def save(folder: Path, concept: Image, fine: Image) -> Path:
    """The model and its processor in one folder, as its own repository has them."""
    checker(concept, fine).save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder
