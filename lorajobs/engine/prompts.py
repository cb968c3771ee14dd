"""What of a prompt the text encoders will not read."""

from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from lorajobs.jobs import AppliedLora, JobWarning
from lorajobs.spec import JobSpec


class Reader(NamedTuple):
    """One tokenizer of a pipeline and the number of tokens that its text encoder reads."""

    tokenizer: Any
    tokens: int


def readers(components: Mapping[str, Any], max_sequence_length: int | None) -> list[Reader]:
    """The tokenizers among a pipeline's components.

    `max_sequence_length` is the pipeline's default for encoders that are not CLIP.
    """
    found = []
    for name, tokenizer in sorted(components.items()):
        if not name.startswith("tokenizer") or tokenizer is None:
            continue
        tokens = int(tokenizer.model_max_length)
        if max_sequence_length is not None and "CLIP" not in type(tokenizer).__name__:
            tokens = max_sequence_length
        found.append(Reader(tokenizer, tokens))
    return found


def truncations(spec: JobSpec, found: Iterable[Reader], *, negative: bool) -> list[JobWarning]:
    """One warning for each text that is cut, equal cuts told once; shows what was cut."""
    texts = {"prompt": spec.prompt}
    if negative:
        texts["negative_prompt"] = spec.negative_prompt
    cuts = {
        f"{field}: a text encoder reads {reader.tokens} tokens; it does not see {cut!r}": None
        for field, text in texts.items()
        for reader in found
        if (cut := _cut(reader, text))
    }
    return [JobWarning(code="prompt_truncated", detail=detail) for detail in cuts]


def why_negative_is_ignored(spec: JobSpec, kind: str, parameters: Container[str]) -> str | None:
    """Why a pipeline of this kind, called with these parameters, reads no negative prompt."""
    # Flux's own guidance is distilled: its negative prompt needs a second kind of guidance.
    if "negative_prompt" not in parameters or "true_cfg_scale" in parameters:
        return f"{kind} takes no negative prompt"
    if spec.guidance_scale <= 1:
        return "a negative prompt has no effect unless guidance_scale is above 1"
    return None


def unspoken(spec: JobSpec, applied: Iterable[AppliedLora]) -> list[JobWarning]:
    """One warning for each adapter whose trained tokens no text names."""
    text = f"{spec.prompt} {spec.negative_prompt}"
    return [
        JobWarning(
            code="lora_tokens_unused",
            detail=f"{lora.id} was trained together with {''.join(lora.tokens)}, which the prompt "
            "does not name; write that where the adapter's subject or style belongs",
        )
        for lora in applied
        if lora.tokens and not any(token in text for token in lora.tokens)
    ]


def _cut(reader: Reader, text: str) -> str:
    """The end of the text that does not fit; the encoder's last token is the end mark."""
    ids = reader.tokenizer(text, truncation=False).input_ids
    if len(ids) <= reader.tokens:
        return ""
    last = reader.tokens - 1
    if not reader.tokenizer.is_fast:
        return str(reader.tokenizer.decode(ids[last:-1], skip_special_tokens=True)).strip()
    offsets = reader.tokenizer(text, truncation=False, return_offsets_mapping=True).offset_mapping
    return text[offsets[last][0] :].strip()
