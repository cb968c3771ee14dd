"""One suite on both places for uploaded pictures: memory and a folder, Redis and S3."""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lorajobs.errors import StoreUnavailable
from lorajobs.image_errors import ImageInvalid, ImageNotFound, ImageTooLarge, SourceLost
from lorajobs.images import Images, open_source
from lorajobs.redis_client import connect
from lorajobs.redis_images import RedisImages
from lorajobs.settings import Settings
from lorajobs.spec import SourceImage
from lorajobs.storage import open_store
from lorajobs.storage.base import ObjectStore
from lorajobs.testing import ManualClock, MemoryImages
from lorajobs.uploaded_images import ImageRecords
from tests.images import a_picture, decoded, encoded
from tests.jobs import a_job
from tests.services.server import free_ports
from tests.services.weed import S3Server

TTL_S, LINGER_S, SUBMIT_S = 100, 600, 3600
PICTURE = encoded()
ID = "image-" + hashlib.sha256(PICTURE).hexdigest()
LIMITS: dict[str, Any] = {"image_ttl_s": TTL_S, "image_max_bytes": 4000}


class Place(NamedTuple):
    """Pictures, and what only their tests may do with them."""

    images: Images
    records: ImageRecords
    objects: ObjectStore
    #: brings every end nearer, seconds
    advance: Callable[[float], None]

    def erase(self, *jobs: str) -> int:
        return self.images.erase_due(10, lambda job_id: job_id in jobs)


@pytest.fixture(params=["memory", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "memory":
        settings = Settings(data_dir=tmp_path, **LIMITS)
        clock, objects = ManualClock(), open_store(settings)
        memory = MemoryImages(clock)
        yield Place(Images(settings, memory, objects), memory, objects, clock.advance)
        return
    server: S3Server = request.getfixturevalue("s3")
    settings = Settings(**server.settings, s3_prefix=secrets.token_hex(4), **LIMITS)
    client: Any = connect(request.getfixturevalue("valkey_url"))
    prefix = f"test-{secrets.token_hex(4)}"
    records, objects = RedisImages(client, prefix), open_store(settings)

    def advance(seconds: float) -> None:
        for key in client.zrange(f"{prefix}:images", 0, -1):
            client.zincrby(f"{prefix}:images", -seconds * 1000, key)
        for name in client.keys(f"{prefix}:image:*"):
            client.pexpire(name, client.pttl(name) - int(seconds * 1000))

    yield Place(Images(settings, records, objects), records, objects, advance)
    if names := client.keys(f"{prefix}*"):
        client.delete(*names)
    client.close()


def test_an_upload_is_there_for_its_key_alone(place: Place) -> None:
    image = place.images.upload(PICTURE, "ann")
    assert (image.id, image.width, image.height) == (ID, 96, 64)
    assert (image.bytes, image.content_type) == (len(PICTURE), "image/png")
    assert place.images.find(ID, "ann") == image
    found = place.images.open(ID, "ann")
    assert found.image.tobytes() == a_picture().tobytes()
    assert f"image-{found.sha256}" == ID
    assert place.images.find(ID, "ben") is None
    for owner, name in (("ben", ID), ("", ID), ("ann", "image-" + "0" * 64)):
        with pytest.raises(ImageNotFound, match="no picture is kept as"):
            place.images.open(name, owner)


def test_the_same_picture_again_is_kept_longer_and_once(place: Place) -> None:
    first = place.images.upload(PICTURE, "ann")
    place.advance(TTL_S - 10)
    again = place.images.upload(PICTURE, "ann")
    assert again.key == first.key
    place.advance(TTL_S - 10)
    assert place.images.open(ID, "ann")
    # One of another key is another: neither learns of the other's.
    assert place.images.upload(PICTURE, "ben").key != first.key


def test_an_object_that_is_lost_comes_with_the_next_upload(place: Place) -> None:
    lost = place.images.upload(PICTURE, "ann")
    place.objects.delete(lost.key)
    with pytest.raises(ImageNotFound, match="upload it again"):
        place.images.open(ID, "ann")
    place.images.upload(PICTURE, "ann")
    assert place.images.open(ID, "ann").image.tobytes() == a_picture().tobytes()


def test_what_nobody_used_is_erased_after_its_time(place: Place) -> None:
    image = place.images.upload(PICTURE, "ann")
    assert place.erase() == 0
    place.advance(TTL_S + 1)
    assert place.images.find(ID, "ann") is None
    # Whoever found it a moment ago can still read it.
    assert place.erase() == 0
    assert place.objects.exists(image.key)
    place.advance(LINGER_S)
    assert place.erase() == 1
    assert not place.objects.exists(image.key)
    assert place.erase() == 0


def test_a_picture_is_erased_when_its_key_says_so(place: Place) -> None:
    image = place.images.upload(PICTURE, "ann")
    place.images.remove(image)
    assert place.images.find(ID, "ann") is None
    assert not place.objects.exists(image.key)
    place.advance(TTL_S + LINGER_S)
    assert place.records.due(10) == []
    assert place.images.upload(PICTURE, "ann").key != image.key


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"no picture", ImageInvalid), (b"\0" * 4001, ImageTooLarge)],
)
def test_what_is_no_picture_is_not_kept(place: Place, data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        place.images.upload(data, "ann")
    place.advance(TTL_S + LINGER_S)
    assert place.records.due(10) == []


def test_a_jobs_picture_stays_with_it_and_goes_if_it_never_came(place: Place) -> None:
    image = SourceImage(reference="x", sha256="0" * 64, width=96, height=64, steps=3)
    came, never = a_job(image=image, strength=0.5), a_job(image=image, strength=0.5)
    for job in (came, never):
        place.images.keep(job, PICTURE)
    assert place.erase(came.id) == 0
    place.advance(SUBMIT_S)
    assert place.erase(came.id) == 1
    source = open_source(came, place.objects)
    assert source
    assert source.tobytes() == decoded(PICTURE).tobytes()
    with pytest.raises(SourceLost):
        open_source(never, place.objects)
    assert open_source(a_job(), place.objects) is None
    # It is the job's own now: what erases the job erases it.
    assert place.erase() == 0
    place.objects.delete(came.folder)
    with pytest.raises(SourceLost):
        place.images.of(came)


def test_the_picture_of_a_refused_job_goes_at_once(place: Place) -> None:
    job = a_job()
    place.images.keep(job, PICTURE)
    place.images.discard(job)
    assert not place.objects.exists(job.source_key)
    place.advance(SUBMIT_S)
    assert place.records.due(10) == []


def test_a_picture_in_the_body_is_refused_with_the_way_out(place: Place) -> None:
    with pytest.raises(ImageNotFound, match="send the file to /v1/images"):
        place.images.open("data:image/png;base64,AAAA", "ann")


def test_a_missing_redis_is_said_to_be_missing() -> None:
    (port,) = free_ports(1)
    records = RedisImages(connect(f"redis://127.0.0.1:{port}/0", timeout_s=0.1))
    with pytest.raises(StoreUnavailable):
        records.due(1)
