"""Where a pinned adapter is fetched from: the three forms of `Adapter.location`."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository on the hub at a commit."""

    repo: str
    commit: str
    file: str

    def __str__(self) -> str:
        return f"hf:{self.repo}@{self.commit}/{self.file}"


@dataclass(frozen=True, slots=True)
class S3Version:
    """One version of an object."""

    bucket: str
    key: str
    version_id: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}?versionId={self.version_id}"


@dataclass(frozen=True, slots=True)
class Blob:
    """A snapshot that this service keeps in its object store."""

    sha256: str

    def __str__(self) -> str:
        return f"blob:{self.sha256}"

    @property
    def key(self) -> str:
        """Its key in the object store."""
        return f"adapters/{self.sha256}.safetensors"


Location = HubFile | S3Version | Blob

_HUB = re.compile(r"hf:(?P<repo>[^@]+)@(?P<commit>[0-9a-f]{40})/(?P<file>.+)")
_S3 = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.+)\?versionId=(?P<version_id>[^?]+)")
_BLOB = re.compile(r"blob:(?P<sha256>[0-9a-f]{64})")


def parse_location(text: str) -> Location:
    """Reads what `str` of a location wrote.

    Raises: ValueError.
    """
    if match := _HUB.fullmatch(text):
        return HubFile(**match.groupdict())
    if match := _S3.fullmatch(text):
        return S3Version(**match.groupdict())
    if match := _BLOB.fullmatch(text):
        return Blob(**match.groupdict())
    raise ValueError(f"not the location of a pinned adapter: {text!r}")
