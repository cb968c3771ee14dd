"""Sizes as OpenAI's and vLLM-Omni's clients write them: `1024x768`."""

#: What one looks like, as a part of a regular expression.
SIZE = r"[1-9]\d{0,8}x[1-9]\d{0,8}"


def sides(size: str) -> dict[str, int]:
    """The `width` and `height` of a size, in pixels."""
    width, _, height = size.partition("x")
    return {"width": int(width), "height": int(height)}
