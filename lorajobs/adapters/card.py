"""What a repository's model card says of an adapter, and the rule by which it fits a base."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from lorajobs.errors import LoraBaseMismatch

TAG = "lora"


class Card(NamedTuple):
    """The parts of a model card that matter here."""

    #: True if the repository has the tag `lora`
    is_lora: bool
    #: every base model that it names, as written there
    bases: tuple[str, ...]
    trigger_words: tuple[str, ...] = ()
    license: str | None = None

    @classmethod
    def read(cls, tags: Iterable[str], fields: dict[str, object]) -> "Card":
        """Reads the hub's tags and the card's YAML fields; what has an odd type is left out."""
        tags = list(tags)
        bases = _texts(fields.get("base_model")) + [
            base
            for tag in tags
            if tag.startswith("base_model:")
            # A duplicate, a quantisation or a fine-tune of a whole model has a base model too.
            and not tag.startswith(("base_model:finetune:", "base_model:quantized:"))
            and not tag.startswith("base_model:merge:")
            for base in [tag.removeprefix("base_model:").removeprefix("adapter:")]
        ]
        licenses = _texts(fields.get("license_name")) + _texts(fields.get("license"))
        licenses += [tag.removeprefix("license:") for tag in tags if tag.startswith("license:")]
        return cls(
            is_lora=TAG in (tag.lower() for tag in tags + _texts(fields.get("tags"))),
            bases=tuple(dict.fromkeys(bases)),
            trigger_words=tuple(_texts(fields.get("instance_prompt"))),
            license=licenses[0] if licenses else None,
        )

    def named(self, names: Collection[str]) -> str | None:
        """The base of this card that is one of `names` (lower case), as the card writes it."""
        return next((base for base in self.bases if base.lower() in names), None)

    def require(self, names: Collection[str], where: str) -> str:
        """Checks the `lora` tag and the base, and returns the base as the card writes it.

        Raises: LoraBaseMismatch that says which of the two is missing and what was found.
        """
        found = self.named(names)
        problems = []
        if not self.is_lora:
            problems.append(f"it has no tag `{TAG}`, so it need not be an adapter at all")
        if not self.bases:
            problems.append("its card names no `base_model`")
        elif found is None:
            problems.append(f"its card names the base_model {', '.join(self.bases)}")
        if found is not None and not problems:
            return found
        raise LoraBaseMismatch(
            f"{where}: {' and '.join(problems)}; it must have the tag `{TAG}` and a `base_model` "
            f"that is one of: {', '.join(sorted(names))}"
        )


def _texts(value: object) -> list[str]:
    """A text, or the texts of a list, without empty ones."""
    values = value if isinstance(value, list) else [value]
    return [v.strip() for v in values if isinstance(v, str) and v.strip()]
