"""Lines of other projects' documentation, run as they stand: only ports, ids and folders change."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from PIL import Image

from lorajobs.pictures import read_text
from tests.lora_files import lora, peft_folder, write
from tests.services.curl import RUNNERS, shell
from tests.services.hub import Hub, Repo, hub
from tests.services.line import Line, line
from tests.services.valkey import valkey

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
ADAPTERS = ("minimaxir/sdxl-wrong-lora", "nerijs/pixel-art-xl")

#: "Goodbye cold boot", huggingface.co/blog/lora-adapters-dynamic-loading; on a port of its own.
HUGGING_FACE = r"""
# Request the base model
curl 0:8888 -d '{"inputs": "elephant", "parameters": {"num_inference_steps": 20}}' > /tmp/base.jpg

# Request one adapter
curl -H 'lora: minimaxir/sdxl-wrong-lora' 0:8888 -d '{"inputs": "elephant", "parameters": {"num_inference_steps": 20}}' > /tmp/adapter1.jpg

# Request another one
curl -H 'lora: nerijs/pixel-art-xl' 0:8888 -d '{"inputs": "elephant", "parameters": {"num_inference_steps": 20}}' > /tmp/adapter2.jpg
"""  # noqa: E501

#: vllm-project/vllm-omni (Apache-2.0), examples/online_serving/lora_inference, its curl alone.
VLLM_OMNI = r"""
curl -s "$SERVER/v1/chat/completions" \
  -H "Content-Type: application/json" \
  -d "{
    \"messages\": [
      {\"role\": \"user\", \"content\": \"$PROMPT\"}
    ],
    \"extra_body\": {
      \"height\": $HEIGHT,
      \"width\": $WIDTH,
      \"num_inference_steps\": $NUM_INFERENCE_STEPS,
      \"seed\": $SEED,
      \"lora\": {
        \"name\": \"$LORA_NAME\",
        \"local_path\": \"$LORA_PATH\",
        \"scale\": $LORA_SCALE$LORA_INT_ID_FIELD
      }
    }
  }"
"""
#: The values that the script gives them.
DEFAULTS = {
    "PROMPT": "A piece of cheesecake",
    "LORA_NAME": "lora",
    "LORA_SCALE": "1.0",
    "LORA_INT_ID_FIELD": "",
    "HEIGHT": "1024",
    "WIDTH": "1024",
    "NUM_INFERENCE_STEPS": "50",
    "SEED": "42",
}
#: The shape of vLLM's own `LoRARequest`.
LORA_REQUEST = """
curl http://localhost:8091/v1/chat/completions -H "Content-Type: application/json" -d '{
  "model": "stabilityai/stable-diffusion-xl-base-1.0",
  "messages": [{"role": "user", "content": "elephant"}],
  "sampling_params": {"num_inference_steps": 20, "seed": 7},
  "lora_request": {"path": "minimaxir/sdxl-wrong-lora", "name": "wrong", "scale": 0.8}
}'
"""


@pytest.fixture(scope="module")
def source() -> Iterator[Hub]:
    with hub() as running:
        for number, name in enumerate(ADAPTERS, 1):
            card = {"base_model": SDXL}
            tags = ("lora", f"base_model:{SDXL}")
            running.add(name, Repo(card=card, tags=tags), {"w.safetensors": lora(float(number))})
        yield running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, source: Hub) -> Iterator[Line]:
    """The API without keys, and a painter in the place of SDXL."""
    folder = tmp_path_factory.mktemp("compatible")
    config = folder / "lorajobs.toml"
    config.write_text(
        f'[models.sdxl]\nrepo = "{SDXL}"\n'
        "defaults = { width = 128, height = 96 }\nlimits = { min_size = 64 }\n"
    )
    adapters = write(folder / "adapters", {f"a/{k}": v for k, v in peft_folder().items()})
    with valkey(tmp_path_factory.mktemp("compatible-valkey")) as server:
        settings = {
            "LORAJOBS_REDIS_URL": server.url,
            "LORAJOBS_CONFIG": str(config),
            "LORAJOBS_LORA_ROOTS": json.dumps([str(adapters)]),
            "HF_ENDPOINT": source.url,
        }
        with line(folder, **settings) as made:
            made.start_api()
            made.start_painter(bases="sdxl")
            yield made


def applied(data: bytes) -> list[tuple[str, float]]:
    """The adapters that a picture says that it was made with."""
    return [(one["id"], one["scale"]) for one in json.loads(read_text(data)["loras"])]


def picture_in(completion: dict[str, Any]) -> bytes:
    (part,) = completion["choices"][0]["message"]["content"]
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(data)


@pytest.mark.parametrize("runner", RUNNERS)
def test_hugging_face(running: Line, tmp_path: Path, runner: str) -> None:
    script = HUGGING_FACE.replace("0:8888", f"0:{running.port}").replace("/tmp", str(tmp_path))
    shell(script, tmp_path, runner)
    names = ("base.jpg", "adapter1.jpg", "adapter2.jpg")
    made = [(tmp_path / name).read_bytes() for name in names]
    for data in made:
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.size) == ("JPEG", (128, 96))
        told = read_text(data)
        assert (told["prompt"], told["num_inference_steps"]) == ("elephant", "20")
    wrong, pixel = (f"hf:{name}" for name in ADAPTERS)
    assert [applied(data) for data in made] == [[], [(wrong, 1.0)], [(pixel, 1.0)]]


@pytest.mark.parametrize("runner", RUNNERS)
def test_vllm_omni(running: Line, tmp_path: Path, runner: str) -> None:
    path = str(running.folder / "adapters" / "a")
    values = {**DEFAULTS, "SERVER": f"http://localhost:{running.port}", "LORA_PATH": path}
    setting = "\n".join(f"{name}='{value}'" for name, value in values.items())
    answer = json.loads(shell(f"{setting}\n{VLLM_OMNI}", tmp_path, runner))
    data = picture_in(answer)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (1024, 1024)
    told = read_text(data)
    assert (told["seed"], told["num_inference_steps"]) == ("42", "50")
    assert applied(data) == [(path, 1.0)]
    (one,) = answer["lora_requests"]
    assert (one["name"], one["path"], one["scale"]) == ("lora", path, 1.0)
    assert one["id"] > 0


@pytest.mark.parametrize("runner", RUNNERS)
def test_vllms_lora_request(running: Line, tmp_path: Path, runner: str) -> None:
    script = LORA_REQUEST.replace("8091", str(running.port))
    first, second = (json.loads(shell(script, tmp_path, runner)) for _ in range(2))
    assert picture_in(first) == picture_in(second)
    assert first["lora_requests"] == second["lora_requests"]
    (one,) = first["lora_requests"]
    assert (one["name"], one["path"], one["scale"]) == ("wrong", ADAPTERS[0], 0.8)
    bare = script.replace("lora_request", "metadata_of_nothing")
    assert json.loads(shell(bare, tmp_path, runner))["error"]["param"] == "metadata_of_nothing"


def test_hugging_faces_client(running: Line) -> None:
    def made(**headers: str) -> Image.Image:
        client = InferenceClient(base_url=running.url, token="hf_none", headers=headers)
        return client.text_to_image("elephant", seed=7, num_inference_steps=4)

    bare, styled = made(), made(lora=ADAPTERS[1])
    assert (bare.format, bare.size) == ("PNG", (128, 96))
    assert bare.tobytes() != styled.tobytes()
    assert f"hf:{ADAPTERS[1]}" in styled.info["loras"]
