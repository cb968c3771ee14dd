"""The pages for people: what they may load, who may see them, and that they hold no data."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import web
from lorajobs.catalog import Catalog
from tests.shelf import Shelf
from tests.unit.web.api import Api, problem_of
from tests.unit.web.keyed import Shared
from web.gate import PAGES

FILES = Path(web.__file__).parent
STATIC = sorted((FILES / "static").iterdir())
SHELLS = ("/", "/ops", "/docs")
HOSTILE = '"><img src=x onerror=alert(1)>'
#: Of these nothing is loaded: a namespace, and examples of what people type.
NO_HOSTS = re.compile(r"http://www\.w3\.org/|https://…")


class Markup(HTMLParser):
    """What could run or load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.inline: list[str] = []
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)


@pytest.mark.parametrize("path", SHELLS)
def test_a_page_loads_its_own_files_alone(api: Api, path: str) -> None:
    answer = api.client.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    rules = dict(
        rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; ")
    )
    assert rules.pop("img-src") == "'self' data: blob: https://api.example"
    own = {"script-src", "style-src", "connect-src", "form-action"}
    none = {"default-src", "base-uri", "frame-ancestors", "trusted-types"}
    assert {name for name, value in rules.items() if value == "'self'"} == own
    assert {name for name, value in rules.items() if value == "'none'"} == none
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", SHELLS)
def test_no_script_or_style_stands_in_a_page(api: Api, path: str) -> None:
    markup = Markup(api.client.get(path).text)
    assert markup.inline == []
    for tag, name, value in markup.attributes:
        assert not re.fullmatch("on.*|style|srcdoc", name), (tag, name)
        if name in ("src", "href", "action"):
            assert re.match("#|/(?!/)", value), value
            if value.startswith("/static/"):
                assert api.client.get(value, buffered=True).status_code == 200, value


def test_no_file_names_another_host_or_makes_html_of_text() -> None:
    for file in [*STATIC, *sorted((FILES / "templates").iterdir())]:
        text = NO_HOSTS.sub("", file.read_text())
        assert not re.findall(r"https?://\S+|[\"'(]//\w", text), file.name
        assert not re.findall(r"@import|innerHTML|outerHTML|insertAdjacent|document\.write", text)
        assert not re.findall(r"\beval\(|new Function|\|\s*safe|autoescape", text), file.name
    assert {file.suffix for file in STATIC} == {".css", ".js", ".svg"}


def test_every_imported_script_is_there() -> None:
    names = {file.name for file in STATIC}
    for file in STATIC:
        for imported in re.findall(r'from "\./([\w-]+\.js)"', file.read_text()):
            assert imported in names, f"{file.name} imports {imported}"
        if file.suffix == ".js":
            assert len(file.read_text().splitlines()) <= 250, file.name


def test_who_has_no_key_sees_a_shell_that_holds_nothing_of_anybody(shelf: Shelf) -> None:
    shared = Shared(shelf)
    shared.anna.submit(prompt="a secret plan")
    for path in SHELLS:
        page = shared.api.client.get(path)
        assert page.status_code == 200
        assert "secret plan" not in page.text
    assert "pixel" not in shared.api.client.get("/").text
    for path in ("/v1/models", "/v1/loras", "/v1/loras/pixel/example", "/v1/models/demo/example"):
        problem_of(shared.api.client.get(path), 401, "key_required")


def test_only_pages_and_files_are_open_with_them(api: Api) -> None:
    rules = [r for r in api.app.url_map.iter_rules() if r.endpoint.partition(".")[0] == PAGES]
    assert {rule.rule for rule in rules} == {*SHELLS, "/static/<path:filename>"}
    assert all((rule.methods or set()) <= {"GET", "HEAD", "OPTIONS"} for rule in rules)
    assert api.client.get("/static/../pages.py").status_code == 404
    assert api.client.get("/static/%2e%2e/pages.py").status_code == 404


def test_pages_and_files_are_asked_for_again_and_not_sent_twice(api: Api) -> None:
    for path in ("/", "/static/style.css", "/static/studio.js"):
        first = api.client.get(path, buffered=True)
        assert first.headers["Cache-Control"] == "no-cache"
        again = api.client.get(
            path, buffered=True, headers={"If-None-Match": first.headers["ETag"]}
        )
        assert (again.status_code, again.data) == (304, b"")


def test_hostile_names_are_in_no_page(shelf: Shelf) -> None:
    """What a browser makes of them is tested in tests/system."""
    catalog = Catalog.model_validate({"models": {HOSTILE: {"repo": "a/b", "license": HOSTILE}}})
    api = Api(shelf, catalog=catalog)
    job = api.submit(model=HOSTILE, prompt=HOSTILE, width=1024, height=1024)
    told = api.client.get(f"/v1/jobs/{job}")
    assert (told.mimetype, told.get_json()["input"]["model"]) == ("application/json", HOSTILE)
    for path in (*SHELLS, f"/{HOSTILE}", f"/static/{HOSTILE}"):
        answer = api.client.get(path)
        assert answer.mimetype == "application/problem+json" or HOSTILE not in answer.text


def test_an_example_is_shown_to_who_may_see_its_adapter(shelf: Shelf, tmp_path: Path) -> None:
    picture = tmp_path / "a.webp"
    picture.write_bytes(b"RIFF picture")
    entry = {"source": shelf.file("pixel"), "base": "demo", "example": picture}
    demo = {"repo": "owner/demo", "example": picture, "license": "MIT"}
    missing = {**entry, "example": tmp_path / "gone.png"}
    catalog = Catalog.model_validate(
        {
            "models": {"owner/demo": demo, "demo": {"repo": "x/y"}},
            "loras": {"a": entry, "b": missing},
        }
    )
    library = type(shelf.library)(shelf.settings, catalog, shelf.registry, shelf.objects)
    api = Api(shelf, catalog=catalog, library=library)
    first, second = api.client.get("/v1/models").get_json()["models"]
    assert first["license"] == "MIT"
    assert first["example_url"] == "https://api.example/v1/models/owner/demo/example"
    assert second["example_url"] is None
    for path in ("/v1/models/owner/demo/example", "/v1/loras/a/example"):
        answer = api.client.get(path)
        assert (answer.mimetype, answer.data) == ("image/webp", b"RIFF picture")
    for path in ("/v1/models/demo/example", "/v1/models/nix/example", "/v1/loras/b/example"):
        problem_of(api.client.get(path), 404, "not_found")
    problem_of(api.client.get("/v1/loras/nix/example"), 404, "lora_not_registered")


def test_an_example_must_be_a_picture() -> None:
    with pytest.raises(ValueError, match=r"give a picture: \.png"):
        Catalog.model_validate({"models": {"m": {"repo": "a/b", "example": "page.html"}}})
