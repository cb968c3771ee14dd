"""The pictures that jobs start from: uploaded, fetched from URLs, and kept beside their jobs."""

import re
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL.Image import Image

from lorajobs.catalog import ModelEntry
from lorajobs.errors import StorageUnavailable, StoreUnavailable
from lorajobs.field_errors import shown
from lorajobs.image_errors import ImageNotFound, ImageTooLarge, SourceLost
from lorajobs.image_url import ImageUrls
from lorajobs.jobs import Job
from lorajobs.pipelines import Pipelines
from lorajobs.redis_images import open_image_records
from lorajobs.settings import Settings
from lorajobs.source_picture import SourcePicture, opened, read_picture
from lorajobs.storage import open_store
from lorajobs.storage.base import ObjectStore
from lorajobs.uploaded_images import ImageRecords, UploadedImage

_ID = re.compile(r"image-([0-9a-f]{64})")
#: Seconds for which an object outlives its record: whoever found the record can still read it.
_LINGER_S = 600.0
#: Seconds in which a job must be in the store after its picture is; every submit ends long before.
_SUBMIT_S = 3600.0
#: Pictures that one process decodes at a time.
DECODES = 2
#: No size that a base makes needs more.
_MAX_PNG = 1 << 30


class Images:
    """The one door to the pictures that clients send."""

    def __init__(self, settings: Settings, records: ImageRecords, objects: ObjectStore) -> None:
        """Reads nothing yet."""
        self._records = records
        self._objects = objects
        self._urls = ImageUrls(settings)
        self._pipelines = Pipelines(settings)
        # Each takes a hundred megabytes or two meanwhile, and the API has many threads.
        self._decoding = threading.Semaphore(DECODES)
        self._max_bytes = settings.image_max_bytes
        self._max_pixels = settings.image_max_pixels
        self._ttl_s = settings.image_ttl_s

    def of_owner(self, owner: str) -> "OwnImages":
        """The pictures that a job of this owner may name."""
        return OwnImages(self, self._pipelines, owner)

    def upload(self, data: bytes, owner: str) -> UploadedImage:
        """Keeps a picture for jobs of its owner; the same picture again is kept longer.

        Raises: ImageInvalid, ImageTooLarge, UploadFailed, StorageUnavailable, StoreUnavailable.
        """
        self._require_size(len(data))
        picture = self._read(data)
        earlier = self._kept(owner, picture.sha256)
        # Another object each time: an old one of this name may just be being erased.
        key = earlier.key if earlier else f"inputs/{secrets.token_hex(16)}"
        self._records.expect(key, self._ttl_s + _LINGER_S)
        if not earlier:
            self._objects.put(key, data, picture.content_type)
        image = UploadedImage(
            owner=owner,
            sha256=picture.sha256,
            width=picture.image.width,
            height=picture.image.height,
            bytes=len(data),
            content_type=picture.content_type,
            key=key,
        )
        return self._records.put(image, self._ttl_s)

    def find(self, image_id: str, owner: str) -> UploadedImage | None:
        """The picture of this id, if the owner uploaded it and it has not expired.

        Raises: StoreUnavailable.
        """
        known = _ID.fullmatch(image_id)
        return self._records.find(owner, known[1]) if known else None

    def remove(self, image: UploadedImage) -> None:
        """Forgets and erases an uploaded picture; jobs that were submitted keep theirs.

        Raises: StoreUnavailable, StorageUnavailable.
        """
        self._records.remove(image)
        with _stored():
            self._objects.delete(image.key)
        self._records.forget(image.key)

    def open(self, reference: str, owner: str) -> SourcePicture:
        """The picture of a URL, or of the id of an upload.

        Raises: ImageNotFound, ImageInvalid, ImageTooLarge, UrlNotAllowed, ImageFetchFailed,
        StorageUnavailable, StoreUnavailable.
        """
        if reference.startswith(("https://", "http://")):
            return self._read(self._urls.fetch(reference))
        if reference.startswith("data:"):
            raise ImageNotFound("a body has no room for pictures: send the file to /v1/images")
        image = self.find(reference, owner)
        if image is None:
            way_out = "give an https URL, or the `id` that POST /v1/images answers"
            raise ImageNotFound(f"no picture is kept as {shown(reference)}: {way_out}")
        data = _read(self._objects, image.key, image.bytes)
        if data is None:
            raise ImageNotFound(f"{image.id} was erased since: upload it again")
        return self._read(data)

    def of(self, job: Job) -> bytes | None:
        """See `source_of`."""
        return source_of(job, self._objects)

    def keep(self, job: Job, png: bytes) -> None:
        """Stores a job's own picture, before the job is submitted.

        Raises: UploadFailed, StoreUnavailable.
        """
        self._records.expect(job.source_key, _SUBMIT_S)
        self._objects.put(job.source_key, png, "image/png")

    def discard(self, job: Job) -> None:
        """Erases the picture of a job that was not accepted; what fails, the courier does later."""
        with suppress(StoreUnavailable, OSError):
            self._objects.delete(job.source_key)
            self._records.forget(job.source_key)

    def erase_due(self, limit: int, is_job: Callable[[str], bool]) -> int:
        """Erases what expired, and pictures of jobs that were never submitted; says how many.

        Raises: StoreUnavailable, StorageUnavailable.
        """
        erased = 0
        for key in self._records.due(limit):
            job_id = Job.id_of(key)
            # A job's own goes with the job.
            if job_id is None or not is_job(job_id):
                with _stored():
                    self._objects.delete(key)
                erased += 1
            self._records.forget(key)
        return erased

    def _kept(self, owner: str, sha256: str) -> UploadedImage | None:
        """An earlier upload of this content, unless its object is gone, whoever erased it."""
        earlier = self._records.find(owner, sha256)
        with _stored():
            return earlier if earlier and self._objects.exists(earlier.key) else None

    def _read(self, data: bytes) -> SourcePicture:
        with self._decoding:
            return read_picture(data, self._max_pixels)

    def _require_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise ImageTooLarge(f"it has {size} bytes, allowed are {self._max_bytes}")


class OwnImages:
    """What planning a job of one owner asks of the pictures."""

    def __init__(self, images: Images, pipelines: Pipelines, owner: str) -> None:
        self._images = images
        self._pipelines = pipelines
        self._owner = owner

    def pipeline_of(self, base: ModelEntry) -> str:
        """See `Pipelines.of`."""
        return self._pipelines.of(base)

    def open(self, reference: str) -> SourcePicture:
        """See `Images.open`."""
        return self._images.open(reference, self._owner)


def open_images(settings: Settings) -> Images:
    """The pictures in the stores that the settings name; opens no connection yet.

    Raises: ConfigError.
    """
    return Images(settings, open_image_records(settings), open_store(settings))


def source_of(job: Job, objects: ObjectStore) -> bytes | None:
    """The PNG that a job starts from, None if it starts from text alone.

    Raises: SourceLost, StorageUnavailable.
    """
    if job.spec.image is None:
        return None
    png = _read(objects, job.source_key, _MAX_PNG)
    if png is None:
        raise SourceLost("the picture that the job starts from is not in the object store")
    return png


def open_source(job: Job, objects: ObjectStore) -> Image | None:
    """The picture that a job starts from, None if it starts from text alone.

    Raises: SourceLost, StorageUnavailable.
    """
    png = source_of(job, objects)
    return opened(png) if png else None


def _read(objects: ObjectStore, key: str, most: int) -> bytes | None:
    """An object of at most so many bytes; None if it is not there.

    Raises: StorageUnavailable.
    """
    with _stored(), tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "object")
        try:
            objects.fetch(key, target, most)
        except FileNotFoundError:
            return None
        return target.read_bytes()


@contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"a picture: {error}") from error
