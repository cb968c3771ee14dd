"""`lorajobs up`: Ctrl-C and SIGKILL leave no process, the next `up` goes on; clients are served."""

import io
import os
import signal
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image
from replicate.client import Client

from tests.services.line import Line, line


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Line]:
    with line(tmp_path) as made:
        yield made


def up(home: Line) -> "subprocess.Popen[bytes]":
    process = home.start("up", "-m", "lorajobs", "up", "--port", str(home.port))
    home.until(lambda: bool(_answers(home) and home.warm_workers()), "up is warm", 90)
    return process


def _answers(home: Line) -> bool:
    try:
        return home.http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_ctrl_c_leaves_nothing_and_the_next_up_goes_on(home: Line) -> None:
    first = up(home)
    done = home.run()
    running = home.submit(num_inference_steps=100)
    home.reached(running["id"], lambda j: j["progress"]["step"] > 0)
    waiting = [home.submit(seed=i)["id"] for i in range(3)]
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=60) == 0
    assert home.left() == {}
    up(home)
    for job_id in (running["id"], *waiting):
        ended = home.ended(job_id)
        assert (ended["status"], ended["attempts"]) == ("succeeded", 1), home.logs()
    kept = home.job(done["id"])
    assert kept["status"] == "succeeded"
    assert home.http.get(kept["outputs"][0]["url"]).status_code == 200


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


def test_clients_of_other_apis_get_the_same_picture_and_a_killed_up_leaves_nothing(
    home: Line,
) -> None:
    process = up(home)
    asked: dict[str, Any] = {"prompt": "a red heart", "seed": 7, "num_inference_steps": 8}
    (output,) = home.run(loras=[{"id": "pixel"}], **asked)["outputs"]
    native = home.http.get(output["url"]).content
    with httpx.HTTPTransport() as transport:
        client = Client("none", base_url=home.url, transport=transport)
        (url,) = client.run("lorajobs/pixel", input=asked)
    assert pixels(home.http.get(url).content) == pixels(native)
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(api_key="none", base_url=f"{home.url}/v1", http_client=http) as images:
        prompt = asked.pop("prompt")
        made = images.images.generate(model="pixel", prompt=prompt, extra_body=asked).data
    assert made
    assert pixels(b64decode(made[0].b64_json or "")) == pixels(native)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    home.until(lambda: home.left() == {}, "all processes are gone", 20)
