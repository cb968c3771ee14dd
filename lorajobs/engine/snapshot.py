"""Brings a base's files from the hub: those that its pipeline loads, and no others."""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import (
    HfApi,
    ModelInfo,
    get_hf_file_metadata,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

from lorajobs.errors import BaseLoadFailed
from lorajobs.settings import Settings

INDEX = "model_index.json"
#: What the client raises when the hub gives no usable answer, and when the disk does not.
_SILENCE = (HfHubHTTPError, httpx2.HTTPError, OSError)
_TEXTS = (".json", ".txt", ".model")
_WEIGHTS = re.compile(r"[a-z_]*model(-\d+-of-\d+)?\.safetensors")


class HubRepo:
    """One repository at one revision, on the hub that the settings name."""

    def __init__(self, repo: str, revision: str | None, settings: Settings) -> None:
        """Asks for nothing yet."""
        self._repo = repo
        self._revision = revision
        self._endpoint = settings.hf_endpoint.rstrip("/")
        self._cache = settings.hf_cache
        # False and not None, which would make the client look for a login of its own.
        self._token = settings.hf_token.get_secret_value() if settings.hf_token else False

    def folder(self, variant: str | None, parts: Collection[str] | None = None) -> Path:
        """A local folder with the files, fetched where the cache lacks them.

        Of a pipeline only these parts, if any are named. Where the hub gives no answer, a revision
        that was fetched before is used.

        Raises: BaseLoadFailed naming repository, revision and reason.
        """
        disable_progress_bars()
        try:
            with self._refusals():
                return self._fetched(variant, parts)
        except _SILENCE as error:
            # Whether the weights are complete shows when they are loaded.
            if found := self.cached():
                return found
            raise BaseLoadFailed(
                f"{self._called} is not in the cache, and {self._endpoint} cannot be asked: {error}"
            ) from error

    def pull(self, variant: str | None) -> Path:
        """The same with the newest of the revision or not at all, and its progress on stderr.

        Raises: BaseLoadFailed.
        """
        enable_progress_bars()
        with self._answered():
            return self._fetched(variant, None)

    def cached(self) -> Path | None:
        """The folder of this revision if any of it was fetched before; the hub is not asked."""
        try:
            return self._download([INDEX, "config.json"], cached=True)
        except (LocalEntryNotFoundError, HFValidationError):
            return None

    def size(self, variant: str | None) -> int:
        """The bytes that `pull` would bring to an empty cache, if the token may read them.

        Raises: BaseLoadFailed.
        """
        with self._answered():
            info = self._info(sizes=True)
            names = [file.rfilename for file in info.siblings or ()]
            chosen = wanted(names, {name.rpartition("/")[0] for name in names}, variant)
            # The list of a gated repository is public, its files are not.
            url = hf_hub_url(
                self._repo, chosen[0], revision=self._revision, endpoint=self._endpoint
            )
            get_hf_file_metadata(url, token=self._token, endpoint=self._endpoint)
        return sum(file.size or 0 for file in info.siblings or () if file.rfilename in chosen)

    @property
    def _called(self) -> str:
        return f"{self._repo}@{self._revision or 'main'}"

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Says what the hub refuses; that it does not answer is for the caller to bear."""
        try:
            yield
        except (GatedRepoError, RepositoryNotFoundError) as error:
            raise BaseLoadFailed(
                f"{self._called} is gated, private or missing on {self._endpoint}: check the name, "
                "accept its licence there and set HF_TOKEN"
            ) from error
        except (RevisionNotFoundError, HFValidationError) as error:
            raise BaseLoadFailed(f"{self._called}: {error}") from error

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            with self._refusals():
                yield
        except _SILENCE as error:
            raise BaseLoadFailed(
                f"{self._called}: {self._endpoint} cannot be asked: {error}"
            ) from error

    def _info(self, *, sizes: bool = False) -> ModelInfo:
        api = HfApi(endpoint=self._endpoint, token=self._token, library_name="lorajobs")
        return api.model_info(self._repo, revision=self._revision, files_metadata=sizes)

    def _fetched(self, variant: str | None, parts: Collection[str] | None) -> Path:
        names = [file.rfilename for file in self._info().siblings or ()]
        folders = {""}
        if INDEX in names:
            index = json.loads((self._download([INDEX]) / INDEX).read_text())
            saved = {k for k, v in index.items() if isinstance(v, list) and any(v)}
            folders |= saved if parts is None else saved.intersection(parts)
        return self._download(wanted(names, folders, variant))

    def _download(self, files: list[str], *, cached: bool = False) -> Path:
        """The snapshot's folder with these files in it."""
        folder = snapshot_download(
            self._repo,
            revision=self._revision,
            endpoint=self._endpoint,
            token=self._token,
            cache_dir=self._cache,
            allow_patterns=files,
            local_files_only=cached,
        )
        return Path(str(folder))


def wanted(names: Iterable[str], folders: Iterable[str], variant: str | None) -> list[str]:
    """Which files of a repository a pipeline with these component folders loads.

    In each folder: all texts, and the weights of the variant or, where it has none, the plain ones.
    """
    chosen = []
    for folder in folders:
        here = [name for name in names if name.rpartition("/")[0] == folder]
        chosen += [name for name in here if name.endswith(_TEXTS)]
        weights = [name for name in here if name.endswith(".safetensors")]
        marked = [n for n in weights if variant and re.search(rf"\.{re.escape(variant)}[.-]", n)]
        chosen += marked or [n for n in weights if _WEIGHTS.fullmatch(n.rpartition("/")[2])]
    return sorted(chosen)
