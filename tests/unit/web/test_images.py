"""`/v1/images`, and jobs that start from a picture."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from lorajobs.images import Images
from lorajobs.testing import MemoryImages
from tests.images import a_picture, decoded, encoded
from tests.services.files import FileServer, file_server
from tests.shelf import PUBLIC_URL, Shelf
from tests.unit.web.api import REQUEST, Api, problem_of
from tests.unit.web.keyed import Keyed, Shared

PNG = encoded()
COMMIT = "c" * 40


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """The usual one, with the index of its base in the hub's cache."""
    shelf = Shelf(tmp_path)
    for base, pipeline in (("demo", "StableDiffusionPipeline"), ("third", "LuminaPipeline")):
        repo = tmp_path / "hub" / f"models--owner--{base}"
        index = repo / "snapshots" / COMMIT / "model_index.json"
        index.parent.mkdir(parents=True)
        index.write_text(json.dumps({"_class_name": pipeline}))
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text(COMMIT)
    more = {"hf_cache": tmp_path / "hub", "fetch_private": ("127.0.0.0/8",), "fetch_timeout_s": 5}
    shelf.settings = shelf.settings.model_copy(update=more)
    return shelf


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


def upload(api: Api | Keyed, data: bytes | None = PNG, **options: Any) -> TestResponse:
    asked = {"data": data, "content_type": "image/png", **options}
    return (
        api.post("/v1/images", **asked)
        if isinstance(api, Keyed)
        else api.client.post("/v1/images", **asked)
    )


def chunked(data: bytes) -> dict[str, Any]:
    """A body whose length nobody tells."""
    terminated = {"wsgi.input_terminated": True}
    return {"data": None, "input_stream": io.BytesIO(data), "environ_overrides": terminated}


@pytest.mark.parametrize("how", [{}, chunked(PNG)])
def test_an_uploaded_picture_starts_jobs(api: Api, how: dict[str, Any]) -> None:
    answer = upload(api, **how)
    assert answer.status_code == 201, answer.text
    image = answer.get_json()
    assert answer.headers["Location"] == f"{PUBLIC_URL}/v1/images/{image['id']}"
    assert (image["width"], image["height"], image["bytes"]) == (96, 64, len(PNG))
    assert api.client.get(f"/v1/images/{image['id']}").get_json() == image
    job_id = api.submit(image=image["id"], strength=0.5, num_inference_steps=10, num_images=2)
    document = api.client.get(f"/v1/jobs/{job_id}").get_json()
    told = document["input"]
    assert told["image"] == {
        "reference": image["id"],
        "sha256": image["sha256"],
        "width": 96,
        "height": 64,
        "steps": 5,
    }
    assert (told["strength"], told["width"], told["height"]) == (0.5, 96, 64)
    assert document["progress"] == {"step": 0, "steps": 10}
    # Erased for the jobs to come, not for the one that has it.
    assert api.client.delete(f"/v1/images/{image['id']}").status_code == 204
    path = api.shelf.folder / "jobs" / job_id / "source.png"
    assert decoded(path.read_bytes()).tobytes() == a_picture().tobytes()
    refused = api.client.post("/v1/jobs", json=REQUEST | {"image": image["id"]})
    problem_of(refused, 422, "image_not_found")
    api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert api.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert not path.exists()


def test_a_job_keeps_what_was_at_the_url(api: Api, server: FileServer) -> None:
    url = server.file("/a.png?token=secret", PNG)
    job_id = api.submit(image=url)
    server.answers.clear()
    spec = api.store.get(job_id).spec
    assert spec.image
    assert spec.image.reference == server.url + "/a.png?…"
    assert "secret" not in spec.model_dump_json()
    path = api.shelf.folder / "jobs" / job_id / "source.png"
    assert decoded(path.read_bytes()).size == (spec.width, spec.height)
    answer = api.client.post("/v1/jobs", json=REQUEST | {"image": url})
    (error,) = problem_of(answer, 422, "image_not_found")["errors"]
    assert error["pointer"] == "/image"
    assert error["detail"].endswith("its server answers 404")


def test_the_same_submit_again_is_the_same_job_though_its_picture_is_gone(
    api: Api, server: FileServer
) -> None:
    body = REQUEST | {"image": server.file("/a.png", PNG), "strength": 0.5}
    key = {"Idempotency-Key": "one"}
    first = api.client.post("/v1/jobs", json=body, headers=key)
    server.answers.clear()
    again = api.client.post("/v1/jobs", json=body, headers=key)
    assert (again.status_code, again.get_json()["id"]) == (202, first.get_json()["id"])
    other = api.client.post("/v1/jobs", json=body | {"strength": 0.6}, headers=key)
    problem_of(other, 422, "idempotency_mismatch")
    assert len(list((api.shelf.folder / "jobs").iterdir())) == 1


def test_a_dry_run_looks_at_the_picture_and_keeps_nothing(api: Api) -> None:
    image = upload(api).get_json()
    path, body = "/v1/jobs?dry_run=1", REQUEST | {"image": image["id"], "strength": 0.5}
    answer = api.client.post(path, json=body)
    assert answer.status_code == 200
    assert answer.get_json()["input"]["image"]["sha256"] == image["sha256"]
    assert not (api.shelf.folder / "jobs").exists()
    problem_of(api.client.post(path, json=body | {"strength": 0.01}), 422, "validation")


def test_a_base_without_an_image_to_image_pipeline_refuses(api: Api) -> None:
    image = upload(api).get_json()["id"]
    answer = api.client.post("/v1/jobs", json=REQUEST | {"model": "third", "image": image})
    (error,) = problem_of(answer, 422, "validation")["errors"]
    assert error == {
        "pointer": "/image",
        "detail": "third starts from text alone: its pipeline is LuminaPipeline",
    }


def test_a_base_of_which_nobody_can_tell_is_asked_for_again(api: Api) -> None:
    settings = api.shelf.settings.model_copy(
        update={"hf_cache": api.shelf.root, "hf_endpoint": "http://127.0.0.1:9"}
    )
    cut_off = Api(api.shelf, images=Images(settings, MemoryImages(), api.shelf.objects))
    answer = cut_off.client.post("/v1/jobs", json=REQUEST | {"image": "image-" + "0" * 64})
    problem_of(answer, 503, "pipeline_unknown")


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ({"content_type": "image/gif"}, 415, "unsupported_media_type"),
        ({"content_type": "application/json"}, 415, "unsupported_media_type"),
        ({"data": b"no picture"}, 422, "image_invalid"),
        ({"data": PNG[:100]}, 422, "image_invalid"),
        ({"data": b"\0" * 4001}, 422, "image_too_large"),
        (chunked(b"\0" * 9000), 422, "image_too_large"),
        ({"data": encoded(a_picture(120, 100))}, 422, "image_too_large"),
        ({"query_string": {"x": 1}}, 422, "validation"),
    ],
)
def test_what_is_refused(api: Api, how: dict[str, Any], status: int, code: str) -> None:
    limits = {"image_max_bytes": 4000, "image_max_pixels": 10_000}
    settings = api.shelf.settings.model_copy(update=limits)
    images = Images(settings, MemoryImages(), api.shelf.objects)
    narrow = Api(api.shelf, settings=settings, images=images)
    problem_of(upload(narrow, **how), status, code)
    assert not (api.shelf.folder / "inputs").exists()


def test_another_keys_picture_is_not_there(shelf: Shelf) -> None:
    shared = Shared(shelf)
    image = upload(shared.anna).get_json()["id"]
    for who in (shared.ben, shared.root):
        problem_of(who.get(f"/v1/images/{image}"), 404, "image_not_found")
        problem_of(who.ask("DELETE", f"/v1/images/{image}"), 404, "image_not_found")
        refused = who.post("/v1/jobs", json=REQUEST | {"image": image})
        problem_of(refused, 422, "image_not_found")
    job_id = shared.anna.submit(image=image)
    assert shared.anna.get(f"/v1/jobs/{job_id}").get_json()["input"]["image"]["reference"] == image


@pytest.mark.parametrize("name", ["nix", "image-0", "image-" + "F" * 64, "image-" + "0" * 64])
def test_a_picture_that_is_not_there(api: Api, name: str) -> None:
    problem_of(api.client.get(f"/v1/images/{name}"), 404, "image_not_found")
