"""The pictures of an attempt into the object store."""

from collections.abc import Callable, Sequence

from lorajobs.engine.base import Picture
from lorajobs.jobs import AppliedLora, Output, Outputs, Withheld
from lorajobs.pictures import describe, encode
from lorajobs.spec import JobSpec

#: As `ObjectStore.put`: key, bytes, content type.
Put = Callable[[str, bytes, str], None]


def store_outputs(
    pictures: Sequence[Picture],
    spec: JobSpec,
    applied: Sequence[AppliedLora],
    folder: str,
    put: Put,
    *,
    described: bool,
) -> Outputs:
    """Encodes each picture, `described` with what makes it again, and stores it below `folder`.

    One that was flagged is only named. Raises: what `put` raises.
    """
    outputs: list[Output | Withheld] = []
    for index, picture in enumerate(pictures):
        if picture.nsfw:
            width, height = picture.image.size
            outputs.append(Withheld(index=index, width=width, height=height, seed=picture.seed))
            continue
        text = describe(spec, picture.seed, applied) if described else None
        encoded = encode(picture.image, spec.output, text)
        key = f"{folder}{index}.{spec.output.format}"
        put(key, encoded.data, encoded.content_type)
        outputs.append(
            Output(
                index=index,
                key=key,
                content_type=encoded.content_type,
                width=encoded.width,
                height=encoded.height,
                bytes=len(encoded.data),
                sha256=encoded.sha256,
                seed=picture.seed,
                nsfw=picture.nsfw,
            )
        )
    return tuple(outputs)
