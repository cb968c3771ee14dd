import pytest

from lorajobs.adapters.card import Card
from lorajobs.errors import LoraBaseMismatch

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
NAMES = frozenset({"sdxl", SDXL})


@pytest.mark.parametrize(
    ("tags", "fields", "bases"),
    [
        ([], {"base_model": SDXL}, (SDXL,)),
        ([], {"base_model": [SDXL, "other/base"]}, (SDXL, "other/base")),
        ([f"base_model:{SDXL}"], {}, (SDXL,)),
        ([f"base_model:adapter:{SDXL}", f"base_model:{SDXL}"], {"base_model": SDXL}, (SDXL,)),
        ([f"base_model:finetune:{SDXL}"], {}, ()),
        ([f"base_model:quantized:{SDXL}"], {}, ()),
        ([f"base_model:merge:{SDXL}"], {}, ()),
        ([], {"base_model": None}, ()),
        ([], {"base_model": [None, 3, " "]}, ()),
        ([], {"base_model": {"odd": 1}}, ()),
    ],
)
def test_bases_stand_in_the_card_or_the_tags(
    tags: list[str], fields: dict[str, object], bases: tuple[str, ...]
) -> None:
    assert Card.read(tags, fields).bases == bases


def test_the_tag_may_stand_on_the_hub_or_in_the_card() -> None:
    assert Card.read(["diffusers", "lora"], {}).is_lora
    assert Card.read([], {"tags": ["LoRA"]}).is_lora
    assert not Card.read(["lora-training", "diffusers"], {"tags": "text"}).is_lora


def test_trigger_words_and_licence() -> None:
    card = Card.read([], {"instance_prompt": " pixel art ", "license": "openrail++"})
    assert card.trigger_words == ("pixel art",)
    assert card.license == "openrail++"
    assert Card.read([], {"instance_prompt": ["a", "b"]}).trigger_words == ("a", "b")
    assert Card.read(["license:mit"], {}).license == "mit"
    assert Card.read([], {"license": "other", "license_name": "stable"}).license == "stable"
    assert Card.read([], {"instance_prompt": None}) == Card(False, ())


def test_a_tagged_adapter_of_the_base_fits_whatever_the_case() -> None:
    written = SDXL.replace("stable", "Stable")
    assert Card(True, ("x/y", written)).require(NAMES, "hf:a/b") == written


@pytest.mark.parametrize(
    ("card", "says", "says_not"),
    [
        (Card(False, (SDXL,)), "no tag `lora`", "names the base_model"),
        (Card(True, ()), "no `base_model`", "no tag"),
        (Card(True, ("runwayml/sd15",)), "names the base_model runwayml/sd15", "no tag"),
        (Card(False, ()), "no tag `lora`, so it need not be an adapter at all and its card", "x/y"),
    ],
)
def test_what_is_missing_is_said(card: Card, says: str, says_not: str) -> None:
    with pytest.raises(LoraBaseMismatch) as error:
        card.require(NAMES, "hf:a/b")
    assert error.value.detail.startswith("hf:a/b")
    assert says in error.value.detail
    assert says_not not in error.value.detail
    assert SDXL in error.value.detail
