"""A prompt is encoded once for the same words and text encoders, and anew for any others."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.engine.prompt_cache import PromptCache
from tests.engine.adapters import (
    TEXT_MODULE,
    TEXT_SHAPE,
    demo,
    local,
    pair,
    pixels,
    prefixed,
    saved,
)


class Encoder:
    """A pipeline whose prompts are encoded, and counted."""

    def __init__(self) -> None:
        self.calls = 0

    def encode_prompt(self, prompt: object, **options: object) -> tuple[object, ...]:
        self.calls += 1
        return (prompt, *options.values())


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


def test_another_argument_is_another_prompt(encoder: Encoder) -> None:
    PromptCache(lambda: 0).install(encoder)
    asked: list[tuple[object, dict[str, object]]] = [
        ("a", {}),
        (["a"], {}),
        ("b", {}),
        ("a", {"negative": None}),
        ("a", {"negative": ""}),
        ("a", {"guided": True}),
        ("a", {"guided": 1}),
        ("a", {"device": torch.device("cpu")}),
    ]
    for _ in range(2):
        for prompt, options in asked:
            assert encoder.encode_prompt(prompt, **options) == (prompt, *options.values())
    assert encoder.calls == len(asked)


def test_other_encoders_encode_anew(encoder: Encoder) -> None:
    versions = iter([0, 0, 1, 0])
    PromptCache(lambda: next(versions)).install(encoder)
    for _ in range(4):
        encoder.encode_prompt("a")
    assert encoder.calls == 2


def test_the_one_not_used_for_longest_goes_first(encoder: Encoder) -> None:
    PromptCache(lambda: 0, entries=2).install(encoder)
    for prompt in "abacab":
        encoder.encode_prompt(prompt)
    assert encoder.calls == 4


def test_what_has_no_content_to_compare_is_encoded_each_time(encoder: Encoder) -> None:
    PromptCache(lambda: 0).install(encoder)
    for _ in range(2):
        encoder.encode_prompt("a", embeds=torch.zeros(1))
    assert encoder.calls == 2


@pytest.fixture
def encoded(engine: DiffusersEngine) -> Iterator[list[int]]:
    """Grows whenever the base's text encoder runs."""
    engine._prompts.clear()
    engine.apply([])
    runs: list[int] = []
    hook = engine._pipe.text_encoder.register_forward_hook(lambda *_: runs.append(1))
    yield runs
    hook.remove()


def _text_adapter(folder: Path) -> LocalAdapter:
    """An adapter that changes nothing but how words are read."""
    state = prefixed("text_encoder.", pair(TEXT_MODULE, TEXT_SHAPE))
    return local(saved(folder / "words.safetensors", state))


def test_one_prompt_is_encoded_once_for_all_seeds_and_adapters_of_the_denoiser(
    engine: DiffusersEngine, encoded: list[int]
) -> None:
    first = pixels(engine)
    # The prompt, and the empty negative one.
    assert len(encoded) == 2
    assert pixels(engine, seed=8) != first
    assert pixels(engine, demo("soft3d")) != first
    assert len(encoded) == 2
    assert pixels(engine, prompt="a blue star") != first
    assert len(encoded) == 4
    engine._prompts.clear()
    assert pixels(engine) == first


def test_an_adapter_of_the_text_encoder_has_prompts_of_its_own(
    engine: DiffusersEngine, encoded: list[int], tmp_path: Path
) -> None:
    adapter = _text_adapter(tmp_path)
    bare, changed = pixels(engine), pixels(engine, adapter)
    assert changed != bare
    assert len(encoded) == 4
    weaker = adapter._replace(use=adapter.use.model_copy(update={"scale": 0.5}))
    assert pixels(engine, weaker) not in (bare, changed)
    assert pixels(engine, adapter) == changed
    assert pixels(engine) == bare
    assert len(encoded) == 6


def test_with_layers_beside_the_weights_each_set_of_adapters_has_its_own(
    unfused: DiffusersEngine, tmp_path: Path
) -> None:
    adapter = _text_adapter(tmp_path)
    unfused.apply([])
    bare, changed = pixels(unfused), pixels(unfused, adapter)
    assert changed != bare
    assert pixels(unfused) == bare
    assert pixels(unfused, adapter) == changed
