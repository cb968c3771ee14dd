"""What a call is but for the contents of its tensors: something to look it up by."""

from collections.abc import Hashable

import torch


def form_of(value: object, tensors: list[torch.Tensor]) -> Hashable | None:
    """Types, shapes and constants; its tensors are appended to `tensors`.

    None if something in it cannot be compared by content.
    """
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return (tuple(value.shape), value.dtype)
    if isinstance(value, dict):
        parts = [(name, form_of(part, tensors)) for name, part in value.items()]
        return None if any(part is None for _, part in parts) else (dict, *parts)
    if isinstance(value, tuple | list):
        forms = [form_of(part, tensors) for part in value]
        return None if None in forms else (type(value), *forms)
    # With its type, so that 1, 1.0 and True differ.
    is_plain = value is None or isinstance(value, bool | int | float | str | torch.device)
    return (type(value), value) if is_plain else None
