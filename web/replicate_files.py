"""Files as Replicate's clients upload them for an input: pictures that predictions start from."""

from lorajobs.body import Body
from lorajobs.document import Document, timestamp
from lorajobs.field_errors import blamed, shown
from lorajobs.image_errors import NoSuchImage
from lorajobs.uploaded_images import UploadedImage
from web.caller import caller
from web.deps import deps, public_url
from web.picture_form import read_form


class FileForm(Body):
    """The fields of the form beside its file: none."""


def uploaded_file() -> UploadedImage:
    """Keeps the picture that is sent.

    Raises: UnsupportedMediaType, ImageTooLarge, ImageInvalid, ValidationFailed, UploadFailed,
    StoreUnavailable.
    """
    form = read_form(FileForm, {}, ("content",))
    FileForm.parse(form.body)
    with blamed("/content"):
        return deps().images.upload(form.picture, caller().owner)


def own_file(file_id: str) -> UploadedImage:
    """The picture of this id, if the caller uploaded it.

    Raises: NoSuchImage, StoreUnavailable.
    """
    image = deps().images.find(file_id, caller().owner)
    if image is None:
        raise NoSuchImage(f"no file is kept as {shown(file_id)}")
    return image


def file_document(image: UploadedImage) -> Document:
    """The picture as Replicate shows a file; its URL is what an input names it by."""
    suffix = image.content_type.rpartition("/")[2]
    return {
        "id": image.id,
        "name": f"{image.id}.{suffix}",
        "content_type": image.content_type,
        "size": image.bytes,
        "etag": image.sha256,
        "checksums": {"sha256": image.sha256},
        "metadata": {},
        "created_at": timestamp(image.expires_ms - int(deps().settings.image_ttl_s * 1000)),
        "expires_at": timestamp(image.expires_ms),
        "urls": {"get": _root() + image.id},
    }


def image_named(reference: str | None) -> str | None:
    """The `image` of a job for that of an input: one of our files goes by its id."""
    return reference.removeprefix(_root()) if reference else reference


def _root() -> str:
    return f"{public_url()}/v1/files/"
