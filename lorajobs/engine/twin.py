"""The image-to-image twin of a pipeline: another loop over the same components."""

import diffusers

from lorajobs.errors import EngineFailed


def twin(pipe: diffusers.DiffusionPipeline) -> diffusers.DiffusionPipeline:
    """The image-to-image pipeline of these very components; takes milliseconds and no memory.

    Made for each job, since an adapter may bring components of its own, such as a tokenizer.
    Raises: EngineFailed if diffusers has none for this kind.
    """
    try:
        found = diffusers.AutoPipelineForImage2Image.from_pipe(pipe)
    except ValueError as error:
        raise EngineFailed(f"{type(pipe).__name__} cannot start from a picture: {error}") from error
    found.set_progress_bar_config(disable=True)
    return found
