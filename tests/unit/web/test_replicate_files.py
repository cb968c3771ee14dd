"""Pictures as Replicate's real client uploads them for an input, in this process."""

import io

import pytest
from replicate.exceptions import ReplicateError

from lorajobs.api_keys import Scope, create
from tests.images import encoded
from tests.shelf import Shelf
from tests.unit.web.api import problem_of
from tests.unit.web.painted import PaintedApi
from tests.unit.web.replicate_client import client_of
from tests.unit.web.test_openai_edits import index_of

PNG = encoded()


@pytest.fixture
def api(shelf: Shelf) -> PaintedApi:
    hub = shelf.folder / "hub"
    index_of("demo", hub)
    shelf.settings = shelf.settings.model_copy(update={"hf_cache": hub, "image_max_bytes": 100_000})
    return PaintedApi(shelf)


def test_an_open_file_of_an_input_is_the_start(api: PaintedApi) -> None:
    given = {"prompt": "a red heart", "image": io.BytesIO(PNG), "prompt_strength": 0.5}
    client_of(api).run("lorajobs/demo", input=given, use_file_output=False)
    (job,) = api.jobs
    assert job.spec.image
    assert (job.spec.strength, job.spec.image.reference[:6]) == (0.5, "image-")
    assert job.status == "succeeded"


def test_a_file_is_shown_to_its_owner(api: PaintedApi) -> None:
    _, anna = create(api.keys, "anna", [Scope.SUBMIT, Scope.READ])
    _, ben = create(api.keys, "ben", [Scope.READ])
    files = client_of(api, anna).files
    made = files.create(io.BytesIO(PNG))
    assert (made.content_type, made.size) == ("image/png", len(PNG))
    assert made.checksums["sha256"] == made.etag
    assert made.created_at < str(made.expires_at)
    assert made.urls["get"].endswith(f"/v1/files/{made.id}")
    assert files.get(made.id) == made
    with pytest.raises(ReplicateError, match="status: 404"):
        client_of(api, ben).files.get(made.id)


def test_what_is_no_picture_is_refused(api: PaintedApi) -> None:
    files = client_of(api).files
    with pytest.raises(ReplicateError, match="PNG, JPEG or WebP"):
        files.create(io.BytesIO(b"GIF89a"))
    with pytest.raises(ReplicateError, match="LORAJOBS_IMAGE_MAX_BYTES"):
        files.create(io.BytesIO(b"x" * 700_000))
    # It would be kept nowhere.
    with pytest.raises(ReplicateError, match="/metadata: unknown field"):
        files.create(io.BytesIO(PNG), metadata={"a": "b"})
    named = api.client.post("/v1/files", data={"image": (io.BytesIO(PNG), "a.png")})
    assert problem_of(named, 422, "validation")["errors"][0]["pointer"] == "/image"
