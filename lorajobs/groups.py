"""The names of sets of adapters; between jobs of one set nothing has to be swapped."""

from collections.abc import Iterable


def key_of(sha256: str, embeddings: str | None) -> str:
    """Names an adapter by the SHA-256 of its files: the LoRA, and its trained tokens if any."""
    return f"{sha256}+{embeddings}" if embeddings else sha256


def group_of(adapters: Iterable[tuple[str, float]]) -> str:
    """Names a set of (key, scale)."""
    return ",".join(sorted(f"{key}@{scale!r}" for key, scale in adapters))


def shas_of(group: str) -> list[str]:
    """The SHA-256 of each file of the adapters in a group's name."""
    keys = [use.split("@")[0] for use in group.split(",") if use]
    return [sha256 for key in keys for sha256 in key.split("+")]
