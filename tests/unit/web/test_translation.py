"""A request in two vocabularies: what is wrong is told in the client's."""

import pytest

from lorajobs.errors import FieldError, LoraNotFound, UnknownModel, ValidationFailed
from web.translation import Translation


def translation() -> Translation:
    made = Translation()
    made.put("model", "demo", "model")
    made.put("prompt", "a red heart", "/input/prompt")
    made.put("num_images", None, "/input/n")
    made.put("webhook", {"url": "https://receiver.example"}, "/webhook", url="/webhook")
    made.put_lora({"id": "pixel", "scale": 0.5}, "/input/lora", scale="/input/lora_scale")
    made.put_lora({"path": "hf:owner/style", "scale": None}, "/input/loras/0")
    return made


def test_what_was_put_is_asked_for() -> None:
    asked = translation().request().model_dump(exclude_none=True)
    assert asked == {
        "model": "demo",
        "prompt": "a red heart",
        "webhook": {"url": "https://receiver.example"},
        "loras": ({"id": "pixel", "scale": 0.5}, {"path": "hf:owner/style"}),
    }


def test_what_is_refused_at_once_is_told_of_the_client_s_field() -> None:
    made = translation()
    made.put("num_images", 9, "/input/n")
    # Theirs that reads like another one of ours.
    made.put_lora({"id": "line", "scale": 7}, "/loras/0", scale="/loras/0/weight")
    with pytest.raises(ValidationFailed) as refused, made.spoken():
        made.request()
    assert [error.pointer for error in refused.value.errors] == ["/loras/0/weight", "/input/n"]
    told = "give a number from -5 to 5, not 7"
    assert refused.value.detail == f"/loras/0/weight: {told} (and 1 more)"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("/prompt", "/input/prompt"),
        ("/webhook/url", "/webhook"),
        ("/webhook/events/0", "/webhook/events/0"),
        ("/loras/0", "/input/lora"),
        ("/loras/0/id", "/input/lora/id"),
        ("/loras/0/scale", "/input/lora_scale"),
        ("/loras/1/path", "/input/loras/0/path"),
        # What the client did not say has no other name.
        ("/loras/10/path", "/loras/10/path"),
        ("/width", "/width"),
        ("Idempotency-Key", "Idempotency-Key"),
    ],
)
def test_pointers_are_translated_back(ours: str, theirs: str) -> None:
    with pytest.raises(LoraNotFound) as raised, translation().spoken():
        raise LoraNotFound("nobody has it", FieldError(ours, "nobody has it"))
    assert raised.value.errors == (FieldError(theirs, "nobody has it"),)
    assert raised.value.detail == "nobody has it"


def test_a_header_may_stand_for_a_field() -> None:
    with pytest.raises(UnknownModel) as raised, translation().spoken():
        raise UnknownModel("", FieldError("/model", "is not known"))
    assert raised.value.detail == "model: is not known"
