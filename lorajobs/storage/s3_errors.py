"""S3's errors as those of files."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

ERRNO_OF_STATUS = {401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT}
#: the answer to HEAD has no body and so no message
REASON_OF_ERRNO = {errno.ENOENT: "no such object or bucket", errno.EACCES: "S3 denies access"}


@contextmanager
def translated(bucket: str, key: str) -> Iterator[None]:
    """Turns boto3's errors into FileNotFoundError, PermissionError or another OSError."""
    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        number = ERRNO_OF_STATUS.get(status, errno.EIO)
        text = REASON_OF_ERRNO.get(number) or "S3 failed"
        # Python picks the subclass of OSError by the number.
        raise OSError(number, f"{text} ({reason(error)})", f"s3://{bucket}/{key}") from error
    except BotoCoreError as error:
        raise OSError(errno.EIO, reason(error), f"s3://{bucket}/{key}") from error


def reason(error: Exception) -> str:
    """A short cause without hosts or keys; the rest is in the chained error."""
    if isinstance(error, ClientError):
        return f"S3 answers {error.response['Error'].get('Code', 'an error')}"
    cause = error.__context__
    if isinstance(error, Boto3Error) and isinstance(cause, ClientError | BotoCoreError):
        return reason(cause)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
