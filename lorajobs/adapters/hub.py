"""Adapters on the Hugging Face hub, through its own client; the only file that knows it."""

import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from http import HTTPStatus
from pathlib import Path

import httpx2
from huggingface_hub import (
    HfApi,
    ModelInfo,
    get_hf_file_metadata,
    get_session,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    hf_raise_for_status,
)
from huggingface_hub.utils.tqdm import tqdm

from lorajobs.adapters.card import Card
from lorajobs.adapters.folder import Pin, Trust
from lorajobs.adapters.location import HubFile
from lorajobs.adapters.reference import HubReference, Reference
from lorajobs.errors import HubGated, LoraFetchFailed, LoraNotFound, LoraTooLarge, ValidationFailed
from lorajobs.settings import Settings

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
#: with these the hub says that a repository is not for us, or not there
_REFUSALS = (401, 403, 404, 410, 451)


class _Silent(tqdm):
    """A progress bar that is never drawn: a worker's output is its log."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **(options | {"disable": True}))  # type: ignore[no-untyped-call]


class HubSource:
    """Opens repositories; a token is sent for what the operator registered, never else."""

    def __init__(self, settings: Settings) -> None:
        self._endpoint = settings.hf_endpoint.rstrip("/")
        self._token = settings.hf_token
        self._timeout_s = settings.fetch_timeout_s
        self._max_bytes = settings.lora_max_bytes
        self._cache = settings.hf_cache

    def open(self, reference: Reference, trust: Trust, where: str) -> "HubFolder":
        """Asks for the repository's files and card at the commit its branch or tag is at now.

        Raises: LoraNotFound for a missing revision, HubGated, LoraFetchFailed, ValidationFailed.
        """
        assert isinstance(reference, HubReference)
        trusted = trust.has_token
        api = HfApi(endpoint=self._endpoint, library_name="lorajobs", token=self._auth(trusted))
        with self._translated(reference.repo, trusted):
            info = api.model_info(
                reference.repo,
                revision=reference.revision,
                files_metadata=True,
                timeout=self._timeout_s,
            )
        if info.sha is None or not _COMMIT.fullmatch(info.sha):
            raise LoraFetchFailed(f"{where}: the hub names no commit")
        return HubFolder(self, where, reference.repo, info, trusted)

    def require_access(self, file: HubFile, trusted: bool) -> None:
        """Asks for the file without reading it.

        Raises: HubGated, LoraNotFound, LoraFetchFailed.
        """
        with self._translated(file.repo, trusted):
            get_hf_file_metadata(
                hf_hub_url(file.repo, file.file, revision=file.commit, endpoint=self._endpoint),
                token=self._auth(trusted),
                timeout=self._timeout_s,
                endpoint=self._endpoint,
                library_name="lorajobs",
            )

    def fetch(self, file: HubFile, trusted: bool, target: Path) -> None:
        """Downloads one file at its commit into `target`.

        Raises: HubGated, LoraNotFound, LoraFetchFailed.
        """
        # Its own look-up hides a refusal behind retries of half a minute.
        self.require_access(file, trusted)
        folder = target.with_name(f"{target.name}.hub")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with self._translated(file.repo, trusted):
                path = hf_hub_download(
                    file.repo,
                    file.file,
                    revision=file.commit,
                    endpoint=self._endpoint,
                    token=self._auth(trusted),
                    # A folder of our own, as the client's cache would keep every file twice.
                    local_dir=folder,
                    tqdm_class=_Silent,
                    library_name="lorajobs",
                )
                Path(path).replace(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def start(self, file: HubFile, trusted: bool, most: int, within_s: float) -> bytes | None:
        """The first bytes of a file, at most so many; None if the hub sends no parts of files.

        Raises: HubGated, LoraNotFound, LoraFetchFailed, also if it takes longer than `within_s`.
        """
        url = hf_hub_url(file.repo, file.file, revision=file.commit, endpoint=self._endpoint)
        headers = build_hf_headers(token=self._auth(trusted), library_name="lorajobs")
        headers |= {"Range": f"bytes=0-{most - 1}", "Accept-Encoding": "identity"}
        ends_at, found = time.monotonic() + within_s, b""
        with self._translated(file.repo, trusted):
            asked = get_session().stream(
                "GET", url, headers=headers, timeout=within_s, follow_redirects=True
            )
            with asked as answer:
                hf_raise_for_status(answer)
                if answer.status_code != HTTPStatus.PARTIAL_CONTENT:
                    return None
                for chunk in answer.iter_bytes():
                    found += chunk
                    if time.monotonic() > ends_at:
                        raise LoraFetchFailed(f"hf:{file.repo}: the hub is slow")
                    if len(found) >= most:
                        break
        return found

    def cached(self, repo: str, revision: str | None, file: str) -> Path | None:
        """A small file of a repository, if this machine has it already."""
        held = try_to_load_from_cache(repo, file, cache_dir=self._cache, revision=revision)
        return Path(held) if isinstance(held, str) else None

    def require_size(self, size: int | None, name: str) -> None:
        """Raises: LoraTooLarge."""
        if size is not None and size > self._max_bytes:
            raise LoraTooLarge(f"{name} has {size} bytes, allowed are {self._max_bytes}")

    def _auth(self, trusted: bool) -> str | bool:
        # False and not None, which would make the client look for a login of its own.
        return self._token.get_secret_value() if trusted and self._token else False

    @contextmanager
    def _translated(self, repo: str, trusted: bool) -> Iterator[None]:
        try:
            yield
        except (RevisionNotFoundError, EntryNotFoundError) as error:
            if isinstance(error, FileNotFoundError):  # the client's word for "no connection"
                raise LoraFetchFailed(f"hf:{repo}: the hub does not answer") from error
            missing = "file" if isinstance(error, EntryNotFoundError) else "revision"
            raise LoraNotFound(f"hf:{repo} has no such {missing}") from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in _REFUSALS:
                raise HubGated(self._refusal(repo, trusted, error)) from error
            raise LoraFetchFailed(f"hf:{repo}: the hub answers {status}") from error
        except HFValidationError as error:
            raise ValidationFailed(f"hf:{repo}: {error}") from error
        except httpx2.HTTPError as error:
            what = type(error).__name__
            raise LoraFetchFailed(f"hf:{repo}: the hub does not answer ({what})") from error
        except (ValueError, RuntimeError, XetDownloadError) as error:
            # JSON that is none, or whatever the Rust code behind Xet raises.
            what = f"{self._endpoint} gave no usable answer ({type(error).__name__})"
            raise LoraFetchFailed(f"hf:{repo}: {what}") from error

    def _refusal(self, repo: str, trusted: bool, error: HfHubHTTPError) -> str:
        if not trusted:
            # Which of the three it is would tell a stranger what the repository's owner hides.
            return (
                f"hf:{repo} is gated, private or missing; only public repositories can be "
                "given in a job, the operator can register others"
            )
        if isinstance(error, GatedRepoError):
            way_out = f"accept its terms at {self._endpoint}/{repo} with the account of HF_TOKEN"
            return f"hf:{repo} is gated; {way_out}" + ("" if self._token else " and set HF_TOKEN")
        how = "with this HF_TOKEN" if self._token else "without a token: set HF_TOKEN"
        return f"hf:{repo} is private or missing, it cannot be read {how}"


class HubFolder:
    """A repository at one commit."""

    def __init__(
        self, source: HubSource, where: str, repo: str, info: ModelInfo, trusted: bool
    ) -> None:
        self.where = where
        self._source = source
        self._repo = repo
        self._commit = str(info.sha)
        self._info = info
        self._trusted = trusted
        self._files = {sibling.rfilename: sibling for sibling in info.siblings or ()}

    @property
    def names(self) -> Sequence[str]:
        """The files, relative to the repository."""
        return list(self._files)

    @cached_property
    def card(self) -> Card | None:
        """The model card and the hub's tags."""
        data = self._info.card_data
        fields = data.to_dict() if data else {}  # type: ignore[no-untyped-call]
        return Card.read(self._info.tags or (), fields)

    def pin(self, name: str) -> Pin | None:
        """The commit, if the file is in LFS: for others the hub tells no sha256."""
        sibling = self._files[name]
        self._source.require_size(sibling.size, f"{self.where}/{name}")
        file = HubFile(self._repo, self._commit, name)
        if self._info.gated:
            # The list of files is public all the same.
            self._source.require_access(file, self._trusted)
        lfs = sibling.lfs
        if lfs is None or not _SHA256.fullmatch(lfs.sha256):
            return None
        return Pin(file, self._commit, lfs.sha256, lfs.size)

    def state(self, name: str) -> str | None:
        """Unknown: a branch may move at any time."""
        return None

    def copy(self, name: str, target: Path, max_bytes: int) -> None:
        """Downloads the file at the commit."""
        size = self._files[name].size
        if size is None or size > max_bytes:
            raise LoraTooLarge(f"{self.where}/{name} has {size} bytes, allowed are {max_bytes}")
        self._source.fetch(HubFile(self._repo, self._commit, name), self._trusted, target)
