"""A folder of pictures with captions, as Hugging Face's `imagefolder` data sets lie on a disk.

Beside the pictures stands `metadata.jsonl`, one object a picture: its `file_name`, its `text` and,
if it has any, `tags` that say the same in other words.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

INDEX = "metadata.jsonl"


class Captioned(NamedTuple):
    """A picture and what it shows."""

    picture: Image.Image
    text: str
    tags: tuple[str, ...] = ()


def write(folder: Path, examples: Iterable[Captioned]) -> int:
    """Writes the pictures without loss, in their order, and returns how many there were."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, example in enumerate(examples):
        name = f"{number:05}.webp"
        example.picture.save(folder / name, lossless=True)
        tags = {"tags": example.tags} if example.tags else {}
        lines.append(json.dumps({"file_name": name, "text": example.text, **tags}) + "\n")
    (folder / INDEX).write_text("".join(lines), encoding="utf-8")
    return len(lines)


def read(folder: Path) -> Sequence[Captioned]:
    """All pictures of a folder, in RGB.

    Raises: FileNotFoundError if it has no index, or a picture of the index is not there;
    ValueError if the pictures are of several sizes.
    """
    examples = []
    for line in (folder / INDEX).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        with Image.open(folder / row["file_name"]) as picture:
            examples.append(
                Captioned(picture.convert("RGB"), row["text"], tuple(row.get("tags", ())))
            )
    sizes = {example.picture.size for example in examples}
    if len(sizes) > 1:
        raise ValueError(f"the pictures in {folder} are of several sizes: {sorted(sizes)}")
    return examples
