"""The pictures of an attempt into the object store."""

from collections.abc import Sequence

from lorajobs.engine.base import Picture
from lorajobs.jobs import AppliedLora, Output
from lorajobs.pictures import describe, encode
from lorajobs.spec import JobSpec
from lorajobs.storage.base import ObjectStore


def store_outputs(
    pictures: Sequence[Picture],
    spec: JobSpec,
    applied: Sequence[AppliedLora],
    folder: str,
    objects: ObjectStore,
    *,
    described: bool,
) -> tuple[Output, ...]:
    """Encodes each picture, `described` with what makes it again, and stores it below `folder`.

    Raises: UploadFailed.
    """
    outputs = []
    for index, picture in enumerate(pictures):
        text = describe(spec, picture.seed, applied) if described else None
        encoded = encode(picture.image, spec.output, text)
        key = f"{folder}{index}.{spec.output.format}"
        objects.put(key, encoded.data, encoded.content_type)
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
            )
        )
    return tuple(outputs)
