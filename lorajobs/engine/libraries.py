"""What diffusers and transformers are told before they load anything."""

import diffusers
import transformers


def hush() -> None:
    """Silences what the libraries say of every load, such as parts that are optional.

    What they only warn of and matters here, such as keys that fit nothing, is checked for instead.
    """
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
