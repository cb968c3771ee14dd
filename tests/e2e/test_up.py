"""`lorajobs up`: Ctrl-C and SIGKILL leave no process, the next `up` goes on; clients are served."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image
from replicate.client import Client

from tests.services.curl import RUNNERS, shell
from tests.services.line import WARM_S, Line, line

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    # Whatever else the machine does, a job ends within the grace.
    with line(tmp_path_factory.mktemp("up"), LORAJOBS_SHUTDOWN_GRACE_S="120") as made:
        yield made


def up(home: Line) -> "subprocess.Popen[bytes]":
    """The one that runs already, since a base loads for seconds, or a new one."""
    alive = [process for process in home.named("up") if process.poll() is None]
    argv = ("-m", "lorajobs", "up", "--port", str(home.port))
    process = alive[0] if alive else home.start("up", *argv)
    home.until(lambda: bool(_answers(home) and home.warm_workers()), "up is warm", WARM_S)
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
    assert first.wait(timeout=150) == 0
    assert home.left() == {}
    up(home)
    for job_id in (running["id"], *waiting):
        ended = home.ended(job_id)
        assert (ended["status"], ended["attempts"]) == ("succeeded", 1), home.logs()
    quickstart(home)
    kept = home.job(done["id"])
    assert kept["status"] == "succeeded"
    assert home.http.get(kept["outputs"][0]["url"]).status_code == 200


def quickstart(home: Line) -> None:
    """Does what the first page of the documents says once `up` runs, line by line."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "index.md").read_text(), re.DOTALL)
    first, *then = blocks
    assert re.findall(r"^make (\w+)", first, re.MULTILINE) == ["demo", "up"]
    env = f"export LORAJOBS_API_URL={home.url} PYTHONPATH={ROOT}\n"
    script = "".join(then).replace(".venv/bin/lorajobs", f"{sys.executable} -m lorajobs")
    told = shell(env + script.replace("http://127.0.0.1:8000", home.url), home.folder, RUNNERS[-1])
    assert b"saved heart.png" in told
    assert (home.folder / "heart.png").read_bytes().startswith(b"\x89PNG")
    job = json.loads(told[told.index(b"{") :])
    assert job["status"] == "succeeded"
    assert [lora["id"] for lora in job["applied_loras"]] == ["pixel", "soft3d"]


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
