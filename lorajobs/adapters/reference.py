"""Where an adapter is said to be: the four forms that a client or operator may write."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar, Protocol
from urllib.parse import urlsplit, urlunsplit

from lorajobs.errors import UrlNotAllowed, ValidationFailed
from lorajobs.request import url_problem

ALLOWED = (
    "a registered id, `hf:owner/name[@revision]`, `s3://bucket/key`, `https://…` "
    "or an absolute path on the server"
)
MAX_LENGTH = 2048

_REPO = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9_][\w./+-]{0,254}", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class HubReference:
    """A model repository on the hub at a branch, tag or commit; None is its main branch."""

    scheme: ClassVar[str] = "hf"
    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf:{self.repo}@{self.revision}" if self.revision else f"hf:{self.repo}"


@dataclass(frozen=True, slots=True)
class S3Reference:
    """An object, or a folder of them."""

    scheme: ClassVar[str] = "s3"
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class UrlReference:
    """One file on a web server."""

    scheme: ClassVar[str] = "https"
    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class PathReference:
    """A file or folder on the server, absolute."""

    scheme: ClassVar[str] = "path"
    path: PurePosixPath

    def __str__(self) -> str:
        return str(self.path)


class Reference(Protocol):
    """Any of these, or another that no text is parsed to."""

    scheme: ClassVar[str]


def parse(text: str) -> Reference:
    """Reads a reference.

    Raises: ValidationFailed that says which form is meant and what is wrong with it,
    UrlNotAllowed for any other scheme.
    """
    if not text or len(text) > MAX_LENGTH or not text.isprintable():
        raise ValidationFailed(f"give {ALLOWED}, at most {MAX_LENGTH} printable characters")
    if text.startswith("hf:"):
        return _hub(text)
    if text.startswith("s3://"):
        return _s3(text)
    if text.lower().startswith(("https://", "http://")):
        return _url(text)
    if text.startswith("/"):
        return _path(text)
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)", text)
    if scheme:
        raise UrlNotAllowed(f"{scheme[0]!r} references are not supported; give {ALLOWED}")
    hint = f"; did you mean `hf:{text}`?" if _REPO.fullmatch(text) else ""
    raise ValidationFailed(f"{text!r} is not a reference{hint}; give {ALLOWED}")


def _hub(text: str) -> HubReference:
    repo, at, revision = text.removeprefix("hf:").partition("@")
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise ValidationFailed(
            f"{text!r}: a hub reference is `hf:owner/name[@revision]`; "
            "a file inside is named by `weight_name`"
        )
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise ValidationFailed(f"{text!r}: give a branch, tag or commit after the `@`")
    return HubReference(repo, revision or None)


def _s3(text: str) -> S3Reference:
    bucket, _, key = text.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket) or not key:
        raise ValidationFailed(f"{text!r}: an S3 reference is `s3://bucket/key`")
    if "?versionId=" in key:
        raise ValidationFailed(
            f"{text!r}: leave `?versionId=` out, the newest version is pinned when it is given"
        )
    # HTTP clients fold such segments, so the key that is vetted would not be the one fetched.
    if any(part in ("", ".", "..") for part in key.rstrip("/").split("/")):
        raise ValidationFailed(f"{text!r}: the key has an empty, `.` or `..` segment")
    return S3Reference(bucket, key)


def _url(text: str) -> UrlReference:
    problem = url_problem(text.partition("#")[0])
    if problem:
        raise UrlNotAllowed(problem)
    parts = urlsplit(text)
    return UrlReference(
        urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path or "/", parts.query, ""))
    )


def _path(text: str) -> PathReference:
    return PathReference(PurePosixPath(text))
