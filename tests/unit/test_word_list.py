"""Which prompts a list of words refuses."""

from pathlib import Path

import pytest

from lorajobs.errors import ConfigError
from lorajobs.moderation import PromptGate
from lorajobs.settings import Settings
from lorajobs.word_list import WordList

LIST = WordList(["Gun", "straße", "blood bath", "नग्न"])


@pytest.mark.parametrize(
    ("prompt", "phrase"),
    [
        ("a GUN", "Gun"),
        ("a (gun:1.4), sharp", "Gun"),
        ("machine_gun", "Gun"),
        ("a \uff47\uff55\uff4e of full width", "Gun"),
        ("a g\u00adu\u200bn with signs that nobody sees", "Gun"),
        ("eine STRASSE", "straße"),
        ("a blood,\n bath", "blood bath"),
        ("एक नग्न", "नग्न"),
    ],
)
def test_a_listed_word_is_found_however_it_is_written(prompt: str, phrase: str) -> None:
    assert LIST.check(prompt, "") == (False, f"it must not hold {phrase!r}")


@pytest.mark.parametrize(
    "prompt", ["", "begun", "gunpowder", "a bath of blood", "blood", "एक नग्नता", "a g u n"]
)
def test_a_word_within_a_word_is_none(prompt: str) -> None:
    assert LIST.check(prompt, "").allowed


def test_a_negative_prompt_may_name_what_is_not_to_be_painted() -> None:
    assert LIST.check("a red heart", "gun, blood bath").allowed


def test_the_file_has_a_phrase_a_line_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("# ours\n\nGun  # and others\r\n  blood   bath\n", encoding="utf-8-sig")
    found = WordList.of(Settings(prompt_words=file))
    assert found.check("gun", "").reason == "it must not hold 'Gun'"
    assert not found.check("a blood bath", "").allowed
    assert found.check("ours and others", "").allowed


@pytest.mark.parametrize("content", [None, b"# none\n ... \n", b"\xff\xfe\x00"])
def test_a_file_that_would_refuse_nothing_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "words.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^LORAJOBS_PROMPT_WORDS: .*words\.txt"):
        WordList.of(Settings(prompt_words=file))


def test_neither_setting_is_of_use_without_the_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LORAJOBS_PROMPT_WORDS: name the file"):
        PromptGate.of(Settings(prompt_checker="words"))
    with pytest.raises(ConfigError, match="unless LORAJOBS_PROMPT_CHECKER is `words`"):
        PromptGate.of(Settings(prompt_words=tmp_path / "words.txt"))
