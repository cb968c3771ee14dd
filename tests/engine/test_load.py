"""Loading a base: from a folder or the hub, with another VAE, and what is said when it cannot."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorajobs.catalog import DEMO, Catalog, ModelEntry, Vae
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.errors import BaseLoadFailed
from lorajobs.settings import Settings
from tests.engine.adapters import pixels
from tests.services.hub import Hub, Repo, hub

BASE = DEMO.parent / "base"
UNET = Path("unet/diffusion_pytorch_model.safetensors")
TEXT = Path("text_encoder/model.safetensors")
CPU = Settings(device="cpu")


def loaded(entry: ModelEntry, settings: Settings = CPU) -> DiffusersEngine:
    """A second engine; it costs a fraction of a second once torch is imported."""
    engine = DiffusersEngine(entry, settings)
    engine.load()
    return engine


def entry(**fields: object) -> ModelEntry:
    """The demo's entry, changed."""
    return Catalog.load(None).models["demo"].model_copy(update=fields)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A copy of the demo base to spoil."""
    return shutil.copytree(BASE, tmp_path / "copy")


def test_two_loads_make_the_same_picture(engine: DiffusersEngine) -> None:
    assert pixels(loaded(entry())) == pixels(engine)


def test_it_says_where_the_pristine_weights_lie(
    engine: DiffusersEngine, unfused: DiffusersEngine
) -> None:
    bare = DiffusersEngine(entry(), CPU)
    assert [e.placement() for e in (engine, unfused, bare)] == ["host", "unfused", ""]


def test_one_thread_and_single_precision_on_a_cpu() -> None:
    engine = loaded(entry(dtype="auto"))
    assert torch.get_num_threads() == 1
    for part in (engine._pipe.unet, engine._pipe.text_encoder, engine._pipe.vae):
        assert {p.dtype for p in part.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_another_precision_makes_much_the_same_picture(engine: DiffusersEngine, dtype: str) -> None:
    exact, rough = pixels(engine), pixels(loaded(entry(dtype=dtype)))
    difference = sum(abs(a - b) for a, b in zip(exact, rough, strict=True)) / len(exact)
    assert 0 < difference < 255 * 0.05


def test_loading_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    pixels(loaded(entry()))
    assert capfd.readouterr() == ("", "")


def test_another_vae(engine: DiffusersEngine, tmp_path: Path) -> None:
    folder = shutil.copytree(BASE / "vae", tmp_path / "vae")
    file = folder / "diffusion_pytorch_model.safetensors"
    save_file({k: v * 1.1 for k, v in load_file(file).items()}, file, {"format": "pt"})
    assert pixels(loaded(entry(vae=Vae(path=BASE / "vae")))) == pixels(engine)
    assert pixels(loaded(entry(vae=Vae(path=folder)))) != pixels(engine)


def _delete(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _pickle(path: Path) -> None:
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()


@pytest.mark.parametrize(
    ("file", "spoil", "reason"),
    [
        ("model_index.json", _delete, "model_index.json"),
        (UNET, _delete, "diffusion_pytorch_model"),
        (UNET, _cut, "Unable to load weights"),
        (TEXT, _delete, "model.safetensors"),
        (TEXT, _pickle, "model.safetensors"),
        ("scheduler/scheduler_config.json", _delete, "scheduler_config"),
    ],
)
def test_a_spoiled_base(base: Path, file: str, spoil: object, reason: str) -> None:
    assert callable(spoil)
    spoil(base / file)
    with pytest.raises(BaseLoadFailed, match=reason) as caught:
        loaded(entry(path=base))
    assert "models.demo" in caught.value.detail
    assert str(base) in caught.value.detail


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(BaseLoadFailed, match=str(missing)):
        loaded(entry(path=missing))
    with pytest.raises(BaseLoadFailed, match=str(missing)):
        loaded(entry(vae=Vae(path=missing)))
    with pytest.raises(BaseLoadFailed, match=r"models\.demo: schedulers: .*NoScheduler"):
        loaded(entry(schedulers=("DDIMScheduler", "NoScheduler")))


FILES = {
    str(path.relative_to(BASE)): path.read_bytes() for path in BASE.rglob("*") if path.is_file()
}
TOKEN = "hf_a_token"


@pytest.fixture
def server() -> Iterator[Hub]:
    with hub() as running:
        running.tokens.add(TOKEN)
        yield running


def hub_settings(server: Hub, cache: Path, token: str | None = None) -> Settings:
    return Settings(device="cpu", hf_endpoint=server.url, hf_cache=cache, hf_token=token)


def hub_entry(**fields: object) -> ModelEntry:
    return entry(path=None, repo="me/demo", **fields)


def test_from_the_hub(engine: DiffusersEngine, server: Hub, tmp_path: Path) -> None:
    more = {"demo.safetensors": b"the same in one file", "unet/model.onnx": b"for another program"}
    server.add("me/demo", Repo(), FILES | more)
    settings = hub_settings(server, tmp_path)
    assert pixels(loaded(hub_entry(), settings)) == pixels(engine)
    assert {p.name for p in tmp_path.rglob("*")}.isdisjoint({"demo.safetensors", "model.onnx"})
    assert server.tokens_seen() == {None}
    # Once it is there, the hub may be away.
    fetched = server.downloads()
    server.broken = 503
    assert pixels(loaded(hub_entry(), settings)) == pixels(engine)
    assert server.downloads() == fetched


def test_variant_and_vae_from_the_hub(engine: DiffusersEngine, server: Hub, tmp_path: Path) -> None:
    half = {name: data for name, data in FILES.items() if not name.endswith(".safetensors")}
    for name in (str(UNET), str(TEXT), "vae/diffusion_pytorch_model.safetensors"):
        half[name.replace(".safetensors", ".fp16.safetensors")] = FILES[name]
        half[name] = b"the large ones"
    server.add("me/demo", Repo(), half)
    vae = {n.removeprefix("vae/"): d for n, d in FILES.items() if n.startswith("vae/")}
    server.add("me/vae", Repo(), vae | {"vae.safetensors": b"for another program"})
    made = hub_entry(variant="fp16", vae=Vae(repo="me/vae"))
    assert pixels(loaded(made, hub_settings(server, tmp_path))) == pixels(engine)


def test_a_gated_base_needs_the_token(server: Hub, tmp_path: Path) -> None:
    server.add("me/demo", Repo(gated=True, private=True), FILES)
    with pytest.raises(BaseLoadFailed, match=r"me/demo@main is gated.*HF_TOKEN"):
        loaded(hub_entry(), hub_settings(server, tmp_path))
    loaded(hub_entry(), hub_settings(server, tmp_path, TOKEN))
    assert server.tokens_seen() == {None, f"Bearer {TOKEN}"}


def test_a_missing_revision_and_a_hub_that_is_away(server: Hub, tmp_path: Path) -> None:
    server.add("me/demo", Repo(), FILES)
    settings = hub_settings(server, tmp_path)
    with pytest.raises(BaseLoadFailed, match="me/demo@v2"):
        loaded(hub_entry(revision="v2"), settings)
    server.broken = 500
    with pytest.raises(BaseLoadFailed, match="not in the cache"):
        loaded(hub_entry(), settings)


def test_large_pictures_may_be_decoded_in_tiles(engine: DiffusersEngine) -> None:
    tiled = loaded(entry(vae_tiling=True))
    assert pixels(tiled) == pixels(engine)
    # Of the usual size one tile would be larger than the demo's largest picture.
    tiled._pipe.vae.tile_sample_min_size, tiled._pipe.vae.tile_latent_min_size = 64, 8
    one, other = (
        torch.frombuffer(bytearray(pixels(e, width=128, height=128)), dtype=torch.uint8).float()
        for e in (tiled, engine)
    )
    assert not torch.equal(one, other)
    # Seams, but the same picture.
    assert (one - other).abs().mean() < 16
