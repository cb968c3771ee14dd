"""The errors of pictures that clients send.

RequestError
├── ImageNotFound        image_not_found; 404 where the URL of the request names it
├── ImageInvalid         image_invalid
└── ImageTooLarge        image_too_large
AttemptError
├── ImageFetchFailed     image_fetch_failed, retryable
├── PipelineUnknown      pipeline_unknown, retryable
└── SourceLost           source_lost
"""

from lorajobs.errors import AttemptError, LoraJobsError, RequestError


class ImageNotFound(RequestError):
    """Nothing was uploaded under this id, or nothing is at this URL."""

    code, title = "image_not_found", "Picture not found"


class NoSuchImage(LoraJobsError):
    """The same, of the id in the URL of the request itself."""

    code, title, status = "image_not_found", "Picture not found", 404


class ImageInvalid(RequestError):
    """The bytes are not a picture that can be read."""

    code, title = "image_invalid", "Not a picture that can be read"


class ImageTooLarge(RequestError):
    """The picture has more bytes than `image_max_bytes` or more pixels than `image_max_pixels`."""

    code, title = "image_too_large", "Picture too large"


class ImageFetchFailed(AttemptError):
    """The picture could not be fetched from its URL."""

    code, title, retryable = "image_fetch_failed", "The picture could not be fetched", True


class PipelineUnknown(AttemptError):
    """Nothing tells now which pipeline the base has, and so whether it can start from pictures."""

    code, title, retryable = "pipeline_unknown", "The base's pipeline is not known", True


class SourceLost(AttemptError):
    """The picture that the job starts from is not in the object store."""

    code, title = "source_lost", "The job's source picture is gone"
