"""The prompt checker `words`: no prompt may hold a word or phrase of a file."""

import unicodedata
from collections.abc import Iterable

from lorajobs.errors import ConfigError
from lorajobs.moderation import Verdict
from lorajobs.settings import Settings


class WordList:
    """Refuses a prompt with a listed word, whatever its case, width or the marks around it.

    Whole words only, so that a short one is not found inside others. A negative prompt may name
    anything: it says what not to paint.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        """Each phrase is one word or several in a row."""
        known = {_words(phrase): phrase.strip() for phrase in phrases}
        self._phrases = {words: phrase for words, phrase in known.items() if words.strip()}

    @classmethod
    def of(cls, settings: Settings) -> "WordList":
        """The list in the file that the settings name; `#` begins a comment.

        Raises: ConfigError.
        """
        path = settings.prompt_words
        if path is None:
            raise ConfigError("LORAJOBS_PROMPT_WORDS: name the file of words that are refused")
        try:
            lines = path.expanduser().read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"LORAJOBS_PROMPT_WORDS: {path} cannot be read: {error}") from error
        made = cls(line.partition("#")[0] for line in lines)
        if not made._phrases:
            raise ConfigError(f"LORAJOBS_PROMPT_WORDS: {path} holds no word")
        return made

    def check(self, prompt: str, negative_prompt: str) -> Verdict:
        """Names the first listed phrase that the prompt holds."""
        text = _words(prompt)
        found = next((phrase for words, phrase in self._phrases.items() if words in text), None)
        return Verdict(True) if found is None else Verdict(False, f"it must not hold {found!r}")


def _words(text: str) -> str:
    """The words in lower case with one space around each; compatible forms become one.

    What cannot be seen, such as a soft hyphen within a word, is left out.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kinds = ((char, unicodedata.category(char)) for char in folded)
    # Letters, their marks and numbers; any other sign ends a word.
    spaced = "".join(char if kind[0] in "LMN" else " " for char, kind in kinds if kind != "Cf")
    return f" {' '.join(spaced.split())} "
