"""Which files of a base's repository are fetched."""

from lorajobs.engine.snapshot import wanted

#: As the repository of SDXL lays its files out, shortened.
NAMES = [
    "README.md",
    "model_index.json",
    "sd_xl_base_1.0.safetensors",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/flax_model.msgpack",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.onnx",
    "text_encoder/model.safetensors",
    "text_encoder/pytorch_model.bin",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "vae_1_0/diffusion_pytorch_model.safetensors",
]
FOLDERS = ["", "scheduler", "text_encoder", "tokenizer", "unet", "vae"]


def weights(variant: str | None) -> list[str]:
    """The weight files among what is fetched."""
    return [n for n in wanted(NAMES, FOLDERS, variant) if n.endswith(".safetensors")]


def test_plain_weights() -> None:
    assert weights(None) == [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def test_a_variant_and_plain_weights_where_it_has_none() -> None:
    assert weights("fp16") == [
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def test_texts_of_the_pipeline_alone() -> None:
    texts = [name for name in wanted(NAMES, FOLDERS, None) if not name.endswith(".safetensors")]
    assert "model_index.json" in texts
    assert {"tokenizer/merges.txt", "tokenizer/vocab.json", "unet/config.json"} < set(texts)
    assert not [name for name in texts if name.endswith((".bin", ".onnx", ".msgpack", ".md"))]
