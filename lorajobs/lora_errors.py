"""Why a readable adapter cannot be applied: 422 at the submit, the end of the attempt on a worker.

LoraRefused
├── LoraWrongFamily     lora_wrong_family
├── LoraUnknownKeys     lora_unknown_keys
├── LoraShapeMismatch   lora_shape_mismatch
├── LoraNotFinite       lora_not_finite
├── LoraUnsupported     lora_unsupported_format
├── LoraTokenClash      lora_token_clash
└── LoraNoEffect        lora_no_effect
"""

from lorajobs.errors import LoraRefused


class LoraWrongFamily(LoraRefused):
    """The adapter's names and shapes are those of another family of base models."""

    code, title = "lora_wrong_family", "The adapter belongs to another family of models"


class LoraUnknownKeys(LoraRefused):
    """The file holds tensors that have no place in the base."""

    code, title = "lora_unknown_keys", "The adapter holds tensors without a place in the base"


class LoraShapeMismatch(LoraRefused):
    """A tensor's shape does not fit the weight that it would change."""

    code, title = "lora_shape_mismatch", "The adapter's shapes do not fit the base"


class LoraNotFinite(LoraRefused):
    """The file holds NaN or infinite values."""

    code, title = "lora_not_finite", "The adapter holds values that are not finite"


class LoraUnsupported(LoraRefused):
    """The adapter's format or configuration is known, but not served."""

    code, title = "lora_unsupported_format", "The adapter's format is not supported"


class LoraTokenClash(LoraRefused):
    """Two adapters bring trained tokens of one name, or the base has a token of that name."""

    code, title = "lora_token_clash", "The adapter's tokens have names that are taken"


class LoraNoEffect(LoraRefused):
    """The file holds nothing that could change the base."""

    code, title = "lora_no_effect", "The adapter cannot change anything"
