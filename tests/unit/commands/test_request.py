import pytest

from lorajobs.commands.request import parse_lora


@pytest.mark.parametrize(
    ("text", "lora"),
    [
        ("pixel", {"id": "pixel"}),
        ("pixel:0.9", {"id": "pixel", "scale": 0.9}),
        ("pixel:-1", {"id": "pixel", "scale": -1.0}),
        ("hf:owner/name", {"path": "hf:owner/name"}),
        ("hf:owner", {"path": "hf:owner"}),
        ("hf:owner/name@main:0.5", {"path": "hf:owner/name@main", "scale": 0.5}),
        ("https://host:8443/a.safetensors", {"path": "https://host:8443/a.safetensors"}),
        ("s3://bucket/key", {"path": "s3://bucket/key"}),
        ("/loras/a.safetensors:1.2", {"path": "/loras/a.safetensors", "scale": 1.2}),
    ],
)
def test_an_adapter_is_an_id_or_a_reference_with_a_scale(
    text: str, lora: dict[str, object]
) -> None:
    assert parse_lora(text) == lora
