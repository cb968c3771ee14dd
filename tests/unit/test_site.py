"""The pages of the site: all in its menu, links that lead somewhere, commands that exist."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from lorajobs.cli import main
from reference.__main__ import PAGES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MENU = ROOT / "mkdocs.yml"
TEXTS = (*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "examples" / "README.md")
#: What stands before a comment, and the comment.
COMMENT = re.compile(r"""^((?:[^'"\n]|'[^']*'|"[^"]*")*?)(?:^|(?<=\s))#\s.*$""", re.MULTILINE)


class Text(NamedTuple):
    """A page without its code, and its code."""

    prose: str
    #: (language, text) of each block
    blocks: Sequence[tuple[str, str]]

    @classmethod
    @cache
    def of(cls, path: Path) -> "Text":
        text, block = path.read_text(), re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
        blocks = [(language, inner) for _, language, inner in block.findall(text)]
        return cls(block.sub("", text), blocks)


def test_every_page_is_in_the_menu_once() -> None:
    listed = re.findall(r"^ +- [^:]+: (\S+\.md)$", MENU.read_text(), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == {path.name for path in DOCS.glob("*.md")}


def test_the_site_is_built_without_a_warning_and_asks_no_other_host(tmp_path: Path) -> None:
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(MENU, tmp_path)
    built = subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(list(DOCS.glob("*.md")))
    asked = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*>")
    for page in pages:
        assert not asked.findall(page.read_text()), page
        assert 'class="mermaid"' not in page.read_text(), "its script comes from another host"


@pytest.mark.parametrize("name", PAGES)
def test_what_is_made_of_the_code_is_up_to_date(name: str) -> None:
    assert PAGES[name]() == (DOCS / name).read_text(), "run `make docs`"


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as the site and code hosts make them of text."""
    heads = re.findall(r"^#+ (.+)$", Text.of(path).prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    prose = re.sub(r"`[^`]*`", "", Text.of(path).prose)
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose)
    for link in links:
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if path.parent == DOCS:
            assert target.is_relative_to(DOCS), f"{link} leads out of the site"
        if anchor:
            assert anchor in anchors(target), link


def commands(path: Path) -> Iterator[list[str]]:
    """Every command of lorajobs, make or `python -m` that a page tells its reader to type."""
    for language, block in Text.of(path).blocks:
        if language == "console":
            typed = re.findall(r"^\$ ((?:.*\\\n)*.*)", block, re.MULTILINE)
        elif language in ("sh", "bash"):
            typed = [block]
        else:
            continue
        for text in typed:
            yield from (words for line in split(text) if (words := ours(line)))


def split(text: str) -> Iterator[list[str]]:
    """The commands of a piece of shell, as words."""
    lexer = shlex.shlex(
        COMMENT.sub(r"\1", text.replace("\\\n", " ")), posix=True, punctuation_chars="();<>|&\n"
    )
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    words: list[str] = []
    for word in [*lexer, "\n"]:
        if set(word) <= set("();<>|&\n"):
            yield words
            words = []
        else:
            words.append(word)


def ours(words: list[str]) -> list[str]:
    """The command without variables before it and the folder of its file, if it is one of ours."""
    while words and re.match(r"\w+=", words[0]):
        words = words[1:]
    if not words:
        return []
    program = Path(words[0]).name
    known = program in ("lorajobs", "make") or (program == "python" and words[1:2] == ["-m"])
    return [program, *words[1:]] if known else []


def require(words: Sequence[str], *, whole: bool) -> None:
    """Fails if there is no such command; of one that is not `whole` arguments may be left out."""
    program, *rest = words
    if program == "make":
        makefile = (ROOT / "Makefile").read_text()
        for target in (word for word in rest if "=" not in word):
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
    elif program == "python":
        assert importlib.util.find_spec(rest[1]), rest[1]
    else:
        require_lorajobs(rest, whole=whole)


def require_lorajobs(rest: Sequence[str], *, whole: bool) -> None:
    """Fails if lorajobs does not take these words."""
    command: click.Command = main
    context = click.Context(main, info_name="lorajobs", **main.context_settings)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found, rest[0]
        context = click.Context(found, context, rest[0])
        command, rest = found, rest[1:]
    if whole and not isinstance(command, click.Group):
        command.make_context(context.info_name, list(rest), context.parent).close()
    known = {name for it in command.get_params(context) for name in (*it.opts, *it.secondary_opts)}
    named = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert named <= known, named - known


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_exists(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for words in commands(path):
        try:
            require(words, whole=True)
        except click.UsageError as error:
            pytest.fail(f"{shlex.join(words)}: {error.format_message()}")
    for span in re.findall(r"`((?:lorajobs|make|python -m) [^`\n]+)`", Text.of(path).prose):
        require([word for word in ours(span.split()) if word != "…"], whole=False)


def test_a_wrong_command_would_be_found() -> None:
    for wrong in ("lorajobs sumbit x", "make demos", "python -m bench.nothing"):
        with pytest.raises(AssertionError):
            require(wrong.split(), whole=True)
    with pytest.raises(click.UsageError, match="--lroa"):
        require(["lorajobs", "submit", "a heart", "--lroa", "pixel"], whole=True)
    text = "A=b .venv/bin/lorajobs submit 'a # b' \\\n  --watch  # then look\nls | make up\n"
    assert [words for line in split(text) if (words := ours(line))] == [
        ["lorajobs", "submit", "a # b", "--watch"],
        ["make", "up"],
    ]
