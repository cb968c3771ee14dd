"""The whole line on real parts: Valkey, S3, the demo pipeline, a worker process, a receiver."""

import hashlib
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from standardwebhooks import Webhook

from lorajobs.client import Client
from lorajobs.pictures import read_text
from lorajobs.redis_store import open_job_store
from lorajobs.settings import Settings
from lorajobs.storage import open_store
from lorajobs.webhook_secrets import new_secret
from tests.e2e.looks import blockiness, colour, download, pixels
from tests.lora_files import DEMO_LORAS, HOSTILE
from tests.services.flower import Flower, flower
from tests.services.line import Line, children_of, line
from tests.services.receiver import Receiver, receiver
from tests.services.server import HOST
from tests.services.valkey import valkey
from tests.services.weed import S3Server

STEPS = 20
SECRET = new_secret()
PROMPT = "a red heart"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("line")
    with valkey(tmp_path_factory.mktemp("line-valkey")) as server:
        env = {
            "LORAJOBS_REDIS_URL": server.url,
            "LORAJOBS_WEBHOOK_SECRET": SECRET,
            "LORAJOBS_WEBHOOK_RETRY_S": "[0.2, 0.2]",
            "LORAJOBS_S3_PREFIX": "line",
            **{f"LORAJOBS_{name.upper()}": str(value) for name, value in s3.settings.items()},
            # Clients know the store under another name than the processes do.
            "LORAJOBS_S3_PUBLIC_ENDPOINT": s3.endpoint.replace(HOST, "localhost"),
            "LORAJOBS_LEASE_S": "6",
        }
        with line(folder, **env) as made:
            made.start_api()
            made.start_courier()
            made.start_worker()
            yield made


@pytest.fixture(scope="module")
def hooked() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def run(real: Line, **fields: Any) -> tuple[dict[str, Any], bytes]:
    """A job that succeeded, and its first picture as a client downloads it."""
    job = real.run(PROMPT, num_inference_steps=STEPS, **fields)
    return job, download(job["outputs"][0]["url"])


def test_a_job_from_post_to_picture(real: Line, hooked: Receiver) -> None:
    body = {
        "loras": [{"id": "pixel", "scale": 0.9}],
        "webhook": {"url": hooked.url + "/done"},
        "metadata": {"order": "4711"},
    }
    hooked.statuses = [503]
    job, picture = run(real, **body)
    (output,) = job["outputs"]
    assert "//localhost:" in output["url"]
    assert hashlib.sha256(picture).hexdigest() == output["sha256"]
    assert len(picture) == output["bytes"]
    assert Image.open(io.BytesIO(picture)).size == (128, 128) == (output["width"], output["height"])
    assert (job["attempts"], job["progress"]) == (1, {"step": STEPS, "steps": STEPS})
    (applied,) = job["applied_loras"]
    assert (applied["id"], applied["scale"]) == ("pixel", 0.9)
    assert len(applied["sha256"]) == 64
    assert all(job["metrics"][name] is not None for name in ("queue_s", "swap_s", "upload_s"))
    assert read_text(picture)["prompt"] == PROMPT
    again = real.http.get(f"/v1/jobs/{job['id']}/outputs/0")
    assert again.status_code == 302
    assert download(again.headers["location"]) == picture
    hook = hooked.wait(2)[-1]
    told = Webhook(SECRET).verify(hook.body, dict(hook.headers))
    assert (told["type"], told["data"]["id"]) == ("job.succeeded", job["id"])
    assert told["data"]["input"]["metadata"] == {"order": "4711"}
    assert told["data"]["outputs"][0]["sha256"] == output["sha256"]
    assert len({h.headers["webhook-id"] for h in hooked.received}) == 1


def test_each_adapter_shows_and_the_bare_base_stays_the_same(real: Line) -> None:
    def made(*loras: dict[str, object]) -> bytes:
        return run(real, loras=list(loras))[1]

    base = made()
    pixel, lineart = made({"id": "pixel"}), made({"id": "lineart"})
    both = made({"id": "pixel", "scale": 0.7}, {"id": "lineart", "scale": 0.7})
    soft3d = made({"id": "soft3d"})
    weak = made({"id": "pixel", "scale": 0.5})
    after = made()
    assert pixels(after).tolist() == pixels(base).tolist()
    assert blockiness(pixel) < 0.5 * blockiness(base)
    assert colour(lineart) < 0.5 * colour(base)
    pictures = [pixels(p) for p in (base, pixel, lineart, both, soft3d, weak)]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert np.abs(one - other).mean() > 1


def test_the_same_seed_gives_the_same_bytes_and_image_i_uses_seed_plus_i(real: Line) -> None:
    job, first = run(real, num_images=2, seed=41)
    second = download(job["outputs"][1]["url"])
    assert [o["seed"] for o in job["outputs"]] == [41, 42]
    assert pixels(run(real, seed=42)[1]).tolist() == pixels(second).tolist()
    assert pixels(first).tolist() != pixels(second).tolist()


def test_a_picture_is_where_a_job_starts(real: Line, s3: S3Server, tmp_path: Path) -> None:
    text, bare = run(real)
    file = tmp_path / "start.png"
    file.write_bytes(download(text["outputs"][0]["url"]))
    with Client(str(real.http.base_url)) as client:
        image = client.upload_image(file)
    fields = {"image": image["id"], "strength": 0.3, "loras": [{"id": "lineart", "scale": 1.1}]}
    job, made = run(real, **fields)
    assert job["progress"] == {"step": 6, "steps": 6}
    assert job["input"]["image"]["sha256"] == hashlib.sha256(bare).hexdigest()
    assert [lora["id"] for lora in job["applied_loras"]] == ["lineart"]
    assert read_text(made)["strength"] == "0.3"
    # A third of the way to a drawing: less colour, and the heart is where it was.
    assert colour(made) < colour(bare)
    assert np.corrcoef(pixels(made).ravel(), pixels(bare).ravel())[0, 1] > 0.6
    real.http.delete(f"/v1/jobs/{job['id']}").raise_for_status()
    objects = open_store(Settings(**s3.settings, s3_prefix="line"))
    assert not objects.exists(f"jobs/{job['id']}/source.png")


def test_formats_and_defaults(real: Line) -> None:
    job = real.run(PROMPT, output={"format": "webp", "quality": 80}, seed=None)
    (output,) = job["outputs"]
    assert output["content_type"] == "image/webp"
    assert isinstance(output["seed"], int)
    assert job["input"]["seed"] == output["seed"]
    assert Image.open(io.BytesIO(download(output["url"]))).format == "WEBP"


def test_an_adapter_s_id_as_model(real: Line) -> None:
    reply = real.http.post(
        "/v1/jobs", json={"model": "pixel", "prompt": PROMPT, "num_inference_steps": 2}
    )
    job = real.ended(reply.json()["id"])
    assert [lora["id"] for lora in job["applied_loras"]] == ["pixel"]
    assert job["input"]["model"] == "demo"


def test_a_prompt_that_is_too_long_is_accepted_with_a_warning(real: Line) -> None:
    long = real.run("a red heart " * 20, num_inference_steps=2)
    (warning,) = [w for w in long["warnings"] if w["code"] == "prompt_truncated"]
    assert "heart" in warning["detail"]


def test_a_hostile_adapter_fails_its_own_job_alone(real: Line, tmp_path: Path) -> None:
    def bare() -> "np.ndarray[Any, Any]":
        return pixels(download(real.run(PROMPT, num_inference_steps=2)["outputs"][0]["url"]))

    before, (worker,) = bare(), real.warm_workers()
    child = children_of(_pid(worker["name"]))
    with Client(real.url) as client:
        for code, change in HOSTILE.items():
            file, name = tmp_path / f"{code}.safetensors", code.replace("_", "-")
            save_file(change(load_file(DEMO_LORAS / "pixel.safetensors")), file)
            client.upload_lora(name, file, base="demo")
            loras = [{"id": "lineart"}, {"id": name}]
            job = real.ended(real.submit(PROMPT, loras=loras)["id"])
            assert (job["status"], job["error"]["code"]) == ("failed", code)
            assert (job["attempts"], job["applied_loras"]) == (1, [])
            assert np.array_equal(bare(), before)
    assert children_of(_pid(worker["name"])) == child


def test_cancel_stops_within_a_step_and_the_worker_stays_warm(real: Line) -> None:
    (worker,) = real.warm_workers()
    job = real.submit(PROMPT, num_inference_steps=100)
    real.reached(job["id"], lambda j: j["progress"]["step"] > 0)
    assert real.http.post(f"/v1/jobs/{job['id']}/cancel").status_code == 202
    assert real.ended(job["id"])["status"] == "canceled"
    run(real)
    assert [w["name"] for w in real.warm_workers()] == [worker["name"]]


def test_delete_erases_record_and_objects(real: Line) -> None:
    job, _ = run(real)
    assert real.http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert real.http.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert httpx.get(job["outputs"][0]["url"], trust_env=False).status_code == 404


def test_models_tell_what_is_loaded(real: Line) -> None:
    run(real, loras=[{"id": "soft3d"}])

    def loaded() -> list[str]:
        (model,) = real.http.get("/v1/models").json()["models"]
        assert (model["id"], model["state"]) == ("demo", "warm")
        (worker,) = model["workers"]
        # One that is applied was laid out in host memory first.
        return [lora["id"] for lora in worker["loaded"] if lora["id"] in worker["memory"]]

    # A worker tells of itself every 1.5 s, and a job takes less.
    real.until(lambda: loaded() == ["soft3d"], "the adapter is told")


def test_a_replaced_child_loads_before_it_takes_a_job(real: Line) -> None:
    job = real.submit(PROMPT, num_inference_steps=60)
    real.reached(job["id"], lambda j: j["progress"]["step"] > 0)
    (child,) = children_of(_pid(real.warm_workers()[0]["name"]))
    os.kill(child, signal.SIGKILL)
    # Its base loads for seconds; until then the job waits, it does not run.
    waiting = real.reached(job["id"], lambda j: j["status"] == "queued")
    assert waiting["queue"]["position"] == 0
    ended = real.ended(job["id"], deadline_s=90)
    assert (ended["status"], ended["attempts"]) == ("succeeded", 2)


def test_flower_lists_jobs_under_their_ids(real: Line) -> None:
    with flower(real) as shown:
        job, _ = run(real, loras=[{"id": "lineart", "scale": 0.8}])
        task = shown.seen(job["id"], "SUCCESS")
        assert task["name"] == "lorajobs.generate"
        assert "lineart:0.8" in task["kwargs"]
        _revoke_and_terminate(real, shown)
        assert shown.asks_who()


def _revoke_and_terminate(real: Line, shown: Flower) -> None:
    """What an operator clicks ends the right jobs in the right state, and the worker stays warm."""
    (worker,) = real.warm_workers()
    running, waiting = real.submit(PROMPT, num_inference_steps=100), real.submit(PROMPT)
    real.reached(running["id"], lambda j: j["progress"]["step"] > 0)
    shown.revoke(waiting["id"], terminate=False)
    shown.revoke(running["id"], terminate=True)
    assert real.ended(running["id"])["status"] == "canceled"
    assert real.ended(waiting["id"])["status"] == "canceled"
    assert run(real)[0]["attempts"] == 1
    assert [w["name"] for w in real.warm_workers()] == [worker["name"]]


def test_a_worker_killed_mid_job_is_replaced_within_ten_seconds(real: Line) -> None:
    # Whoever takes the job, the other one ends it; a second real base would load for seconds.
    real.start_painter("spare", step_s=0.05)
    job = real.submit(PROMPT, num_inference_steps=100)
    real.reached(job["id"], lambda j: j["progress"]["step"] > 0)
    store = open_job_store(Settings(redis_url=real.env["LORAJOBS_REDIS_URL"]))
    worker = store.get(job["id"]).worker
    assert worker is not None
    os.killpg(_pid(worker), signal.SIGKILL)
    real.reached(
        job["id"], lambda j: j["status"] == "running" and j["attempts"] == 2, deadline_s=10
    )
    ended = real.ended(job["id"], deadline_s=60)
    assert (ended["status"], ended["attempts"], len(ended["outputs"])) == ("succeeded", 2, 1)
    assert store.get(job["id"]).worker != worker


def _pid(worker: str) -> int:
    """The process id in a worker's name, `<queue>-<pid>@<host>`."""
    return int(worker.split("@")[0].rsplit("-", 1)[1])
