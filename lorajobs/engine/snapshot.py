"""Brings a base's files from the hub: those that its pipeline loads, and no others."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from lorajobs.errors import BaseLoadFailed
from lorajobs.settings import Settings

INDEX = "model_index.json"
_TEXTS = (".json", ".txt", ".model")
_WEIGHTS = re.compile(r"[a-z_]*model(-\d+-of-\d+)?\.safetensors")


class HubRepo:
    """One repository at one revision, on the hub that the settings name."""

    def __init__(self, repo: str, revision: str | None, settings: Settings) -> None:
        self._repo = repo
        self._revision = revision
        self._endpoint = settings.hf_endpoint
        # False, not None: the library would fall back to a token of its own.
        self._token = settings.hf_token.get_secret_value() if settings.hf_token else False

    def folder(self, variant: str | None) -> Path:
        """A local folder with the files, fetched where the hub library's cache lacks them.

        Without the hub, a revision that was fetched before is used.

        Raises: BaseLoadFailed naming repository, revision and reason.
        """
        try:
            return self._fetched(variant)
        except (GatedRepoError, RepositoryNotFoundError) as error:
            raise BaseLoadFailed(
                f"{self._called} is gated, private or missing on {self._endpoint}: check its name, "
                "accept its licence there and set HF_TOKEN"
            ) from error
        except (RevisionNotFoundError, EntryNotFoundError) as error:
            raise BaseLoadFailed(f"{self._called}: {error}") from error
        except (HfHubHTTPError, OSError) as error:
            return self._cached(error)

    @property
    def _called(self) -> str:
        return f"{self._repo}@{self._revision}" if self._revision else self._repo

    def _fetched(self, variant: str | None) -> Path:
        info = HfApi(endpoint=self._endpoint, token=self._token).model_info(
            self._repo, revision=self._revision
        )
        names = [file.rfilename for file in info.siblings or ()]
        folders = {""}
        if INDEX in names:
            index = json.loads(self._download(info.sha, [INDEX]).joinpath(INDEX).read_text())
            folders |= {k for k, v in index.items() if isinstance(v, list) and any(v)}
        return self._download(info.sha, wanted(names, folders, variant))

    def _download(self, commit: str | None, files: list[str]) -> Path:
        folder = snapshot_download(
            self._repo,
            revision=commit,
            endpoint=self._endpoint,
            token=self._token,
            allow_patterns=files,
        )
        return Path(str(folder))

    def _cached(self, error: Exception) -> Path:
        try:
            folder = snapshot_download(self._repo, revision=self._revision, local_files_only=True)
            return Path(str(folder))
        except LocalEntryNotFoundError:
            raise BaseLoadFailed(
                f"{self._called} is not in the cache and {self._endpoint} gave no answer: {error}"
            ) from error


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
