"""Tokens that were trained with an adapter come and leave with it (pivotal tuning)."""

import hashlib
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.errors import BaseCorrupt, LoraJobsError, LoraNotApplied, LoraRefused
from lorajobs.lora_errors import (
    LoraNotFinite,
    LoraShapeMismatch,
    LoraTokenClash,
    LoraUnknownKeys,
)
from lorajobs.settings import Settings
from lorajobs.spec import AdapterUse, Embeddings
from tests.engine.adapters import UNET_MODULE, UNET_SHAPE, local, pair, pixels, prefixed, saved
from tests.engine.conftest import Fingerprint
from tests.engine.test_against_diffusers import latents
from tests.engine.tiny import save
from tests.jobs import a_spec

WIDTH = 192
PROMPT = "a <s0><s1> heart"


def bringing(
    folder: Path,
    rows: dict[str, Tensor],
    names: Sequence[str] = ("<s0>", "<s1>"),
    called: str = "it",
    module: str = UNET_MODULE,
    shape: tuple[int, ...] = UNET_SHAPE,
) -> LocalAdapter:
    """An adapter of the demo base, or of another one's module, with these tokens."""
    state = prefixed("unet.", pair(module, shape, seed=len(called)))
    use, path, _ = local(saved(folder / f"{called}.safetensors", state))
    tokens = saved(folder / f"{called}_emb.safetensors", rows)
    sha256 = hashlib.sha256(tokens.read_bytes()).hexdigest()
    shared = use.adapter.model_dump(
        include={"id", "location", "revision", "bytes", "weight_name"},
    )
    pinned = Embeddings(**shared, sha256=sha256, tokens=tuple(names))
    adapter = use.adapter.model_copy(update={"embeddings": pinned})
    return LocalAdapter(AdapterUse(adapter=adapter, scale=use.scale), path, tokens)


def some(rows: int = 2, width: int = WIDTH, seed: int = 0) -> Tensor:
    """Random rows, about as long as a base's own."""
    return torch.randn((rows, width), generator=torch.Generator().manual_seed(seed)) * 0.5


class Look:
    """The tokenizers and embeddings of a pipeline as they are now, and whether they still are."""

    def __init__(self, engine: DiffusersEngine, text: str = PROMPT) -> None:
        pipe = self._pipe = engine._pipe
        self._text = text
        self._tokenizer, self._weight = pipe.tokenizer, pipe.text_encoder.get_input_embeddings()
        self._copy = self._weight.weight.detach().clone()
        self._pointer = self._weight.weight.data_ptr()
        self._vocabulary = dict(pipe.tokenizer.get_vocab())
        self._ids = pipe.tokenizer(text).input_ids

    def is_as_before(self) -> bool:
        """True if nothing has changed, to the bit."""
        weight = self._pipe.text_encoder.get_input_embeddings().weight
        return (
            self._pipe.tokenizer.get_vocab() == self._vocabulary
            and len(self._pipe.tokenizer) == len(self._tokenizer)
            and self._pipe.tokenizer(self._text).input_ids == self._ids
            and weight.data_ptr() == self._pointer
            and torch.equal(weight, self._copy)
        )


@pytest.fixture(params=["engine", "unfused"])
def either(request: pytest.FixtureRequest) -> DiffusersEngine:
    found: DiffusersEngine = request.getfixturevalue(request.param)
    found.apply([])
    return found


def test_they_come_and_leave_with_the_adapter(
    either: DiffusersEngine, tmp_path: Path, weights: Fingerprint
) -> None:
    before, exact, bare = Look(either), weights(either), pixels(either, prompt=PROMPT)
    adapter = bringing(tmp_path, {"clip_l": some()})
    without = local(adapter.path)
    picture = pixels(either, adapter, prompt=PROMPT)
    assert len({bare, pixels(either, without, prompt=PROMPT), picture}) == 3
    (applied,) = either.apply([adapter])
    assert applied.tokens == ("<s0>", "<s1>")
    assert applied.key == adapter.use.adapter.key
    tokenizer = either._pipe.tokenizer
    ids = tokenizer.convert_tokens_to_ids(["<s0>", "<s1>"])
    assert tokenizer("<s0><s1>").input_ids[1:-1] == ids
    embedding = either._pipe.text_encoder.get_input_embeddings().weight
    assert torch.equal(embedding[ids], some())
    either.check()
    # The same LoRA without them is another set, and so is one with other rows.
    assert pixels(either, without, prompt=PROMPT) != picture
    assert before.is_as_before()
    other = bringing(tmp_path, {"clip_l": some(seed=1)})
    assert pixels(either, other, prompt=PROMPT) != picture
    assert pixels(either, prompt=PROMPT) == bare
    assert before.is_as_before()
    assert weights(either) == exact


def test_the_same_set_again_touches_nothing(engine: DiffusersEngine, tmp_path: Path) -> None:
    adapter = bringing(tmp_path, {"clip_l": some()})
    engine.apply([adapter])
    there = engine._pipe.tokenizer, engine._pipe.text_encoder.get_input_embeddings().weight
    stronger = LocalAdapter(adapter.use.model_copy(update={"scale": 2.0}), *adapter[1:])
    engine.apply([stronger])
    assert engine._pipe.tokenizer is there[0]
    assert engine._pipe.text_encoder.get_input_embeddings().weight is there[1]
    engine.apply([])


REFUSED: dict[str, tuple[dict[str, Tensor], type[LoraJobsError], str]] = {
    "another width": ({"clip_l": some(width=768)}, LoraShapeMismatch, "text_encoder needs"),
    "another number": ({"clip_l": some(3)}, LoraShapeMismatch, r"needs \(2, 192\)"),
    "an encoder that is not there": (
        {"clip_l": some(), "clip_g": some()},
        LoraUnknownKeys,
        "clip_g is for text_encoder_2; this base takes tokens for text_encoder",
    ),
    "not finite": ({"clip_l": some() / 0}, LoraNotFinite, "clip_l"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_and_nothing_stays(
    either: DiffusersEngine, tmp_path: Path, weights: Fingerprint, case: str
) -> None:
    rows, error, says = REFUSED[case]
    before, exact = Look(either), weights(either)
    good = bringing(tmp_path, {"clip_l": some()}, ("<one>", "<two>"), "good")
    bad = bringing(tmp_path, rows, called="bad")
    either.apply([good])
    with pytest.raises(error, match=says) as caught:
        either.apply([good, bad])
    assert caught.value.detail.startswith("bad: ")
    assert either.applied() == ()
    assert before.is_as_before()
    assert weights(either) == exact
    with pytest.raises(error):
        either.preload([bad])
    assert before.is_as_before()


def test_a_failure_of_the_weights_takes_the_tokens_with_it(
    either: DiffusersEngine, tmp_path: Path
) -> None:
    before = Look(either)
    good = bringing(tmp_path, {"clip_l": some()})
    state = prefixed("unet.", pair(UNET_MODULE, (8, 8)))
    with pytest.raises(LoraShapeMismatch):
        either.apply([good, local(saved(tmp_path / "bad.safetensors", state))])
    assert before.is_as_before()
    assert either.applied() == ()


def test_nothing_stays_after_any_sequence(
    engine: DiffusersEngine, tmp_path: Path, weights: Fingerprint
) -> None:
    before, exact, chance = Look(engine), weights(engine), random.Random(3)
    adapters = [
        bringing(tmp_path, {"clip_l": some(n, seed=n)}, [f"<{n}{i}>" for i in range(n)], "x" * n)
        for n in (1, 2, 3)
    ]
    adapters += [local(adapters[0].path), bringing(tmp_path, REFUSED["not finite"][0])]
    for _ in range(40):
        with suppress(LoraRefused, LoraNotApplied):
            engine.apply(chance.sample(adapters, chance.randint(0, 3)))
        assert bool(engine.applied()) or before.is_as_before()
    engine.apply([])
    assert before.is_as_before()
    assert weights(engine) == exact


def test_two_with_other_names_work_together_and_the_order_has_no_meaning(
    engine: DiffusersEngine, tmp_path: Path
) -> None:
    before = Look(engine)
    one = bringing(tmp_path, {"clip_l": some(1)}, ("<s0>",), "one")
    other = bringing(tmp_path, {"clip_l": some(1, seed=1)}, ("<cat>",), "another")
    prompt = "a <s0> and a <cat>"
    both = pixels(engine, one, other, prompt=prompt)
    assert pixels(engine, other, one, prompt=prompt) == both
    assert pixels(engine, one, prompt=prompt) != both
    engine.apply([])
    assert before.is_as_before()


@pytest.mark.parametrize("names", [("<s0>", "<s1>"), ("<s1>", "<x>"), ("<x>", "heart</w>")])
def test_names_that_are_taken_are_refused(
    engine: DiffusersEngine, tmp_path: Path, names: tuple[str, str]
) -> None:
    before = Look(engine)
    one = bringing(tmp_path, {"clip_l": some()}, called="one")
    other = bringing(tmp_path, {"clip_l": some()}, names, "another")
    with pytest.raises(LoraTokenClash):
        engine.apply([one, other])
    assert before.is_as_before()
    assert engine.applied() == ()


def test_a_cut_prompt_is_counted_with_the_tokens(engine: DiffusersEngine, tmp_path: Path) -> None:
    # 24 with the marks at both ends: unknown, each of the two words is several tokens.
    prompt = "<s0><s1> " * 11
    quick = {"prompt": prompt, "width": 64, "height": 64, "num_inference_steps": 1}

    def warned() -> list[str]:
        return [w.code for w in engine.generate(a_spec(**quick), lambda step: None).warnings]

    engine.apply([bringing(tmp_path, {"clip_l": some()})])
    assert warned() == []
    engine.apply([])
    assert warned() == ["prompt_truncated"]


def test_a_prompt_that_names_none_of_them_is_warned_of(
    engine: DiffusersEngine, tmp_path: Path
) -> None:
    engine.apply([bringing(tmp_path, {"clip_l": some()})])
    quick = {"prompt": "a TOK", "width": 64, "height": 64, "num_inference_steps": 1}
    (warning,) = engine.generate(a_spec(**quick), lambda step: None).warnings
    assert warning.code == "lora_tokens_unused"
    assert "<s0><s1>" in warning.detail
    engine.apply([])


def test_the_canary_sees_a_changed_row(engine: DiffusersEngine, tmp_path: Path) -> None:
    engine.apply([bringing(tmp_path, {"clip_l": some()})])
    with torch.no_grad():
        engine._pipe.text_encoder.get_input_embeddings().weight[-1, 0] += 1
    with pytest.raises(BaseCorrupt):
        engine.check()
    engine.apply([])
    engine.check()


KEYS = {
    "sd15": {"text_encoder": "emb_params"},
    "sdxl": {"text_encoder": "text_encoders_0", "text_encoder_2": "text_encoders_1"},
    "sd3": {"text_encoder": "clip_l", "text_encoder_2": "clip_g"},
    "flux": {"text_encoder": "clip_l"},
}


@pytest.mark.parametrize("family", KEYS)
def test_our_latents_are_those_of_diffusers(family: str, tmp_path: Path) -> None:
    engine = DiffusersEngine(
        ModelEntry(id=family, path=save(family, tmp_path / "base")), Settings(device="cpu")
    )
    engine.load()
    index = DiffusionPipeline.load_config(tmp_path / "base")
    without = {name: None for name, part in index.items() if part == [None, None]}
    theirs = type(engine._pipe).from_pretrained(tmp_path / "base", **without)
    theirs.set_progress_bar_config(disable=True)
    plain = latents(theirs, PROMPT)
    rows = {encoder: some(width=32, seed=n) for n, encoder in enumerate(KEYS[family])}
    denoiser = engine._pipe.components.get("unet") or engine._pipe.transformer
    path, weight = next(
        (path, module.weight) for path, module in denoiser.named_modules() if path.endswith("to_q")
    )
    prefix = "unet." if hasattr(engine._pipe, "unet") else "transformer."
    lora = prefixed(prefix, pair(path, tuple(weight.shape)))
    adapter = bringing(tmp_path, {KEYS[family][name]: row for name, row in rows.items()})
    saved(adapter.path, lora)
    for encoder, row in rows.items():
        tokenizer = getattr(theirs, encoder.replace("text_encoder", "tokenizer"))
        tokenizer.add_tokens(["<s0>", "<s1>"])
        model = getattr(theirs, encoder)
        model.resize_token_embeddings(max(len(tokenizer), 2402))
        ids = tokenizer.convert_tokens_to_ids(["<s0>", "<s1>"])
        with torch.no_grad():
            model.get_input_embeddings().weight[ids] = row
    theirs.load_lora_weights(str(adapter.path))
    engine.apply([adapter])
    expected, ours = latents(theirs, PROMPT), latents(engine._pipe, PROMPT)
    assert (ours - expected).norm() <= 1e-5 * expected.norm()
    assert (plain - expected).norm() > 1e-3 * expected.norm()
