import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from lorajobs.adapters.folder import Pin, Trust
from lorajobs.adapters.hub import HubFolder, HubSource
from lorajobs.adapters.location import HubFile
from lorajobs.adapters.reference import HubReference
from lorajobs.errors import HubGated, LoraFetchFailed, LoraNotFound, LoraTooLarge
from lorajobs.settings import Settings
from tests.lora_files import lora
from tests.services.hub import Hub, Repo, hub

TOKEN = "hf_operator"
REPO = "nerijs/pixel-art-xl"
FILE = "pixel.safetensors"
BEARER = f"Bearer {TOKEN}"


@pytest.fixture
def server() -> Iterator[Hub]:
    with hub() as running:
        running.tokens.add(TOKEN)
        yield running


def source(server: Hub, *, token: str | None = TOKEN, max_bytes: int = 1 << 20) -> HubSource:
    secret = SecretStr(token) if token else None
    return HubSource(Settings(hf_endpoint=server.url, hf_token=secret, lora_max_bytes=max_bytes))


def opened(
    server: Hub, revision: str | None = None, trust: Trust = Trust.CALLER, repo: str = REPO
) -> HubFolder:
    return source(server).open(HubReference(repo, revision), trust, f"hf:{repo}")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_repository_shows_its_files_and_card(server: Hub) -> None:
    card = {"base_model": "base/sdxl", "instance_prompt": "pixel art", "license": "mit"}
    tags = ("lora", "base_model:base/sdxl")
    server.add(REPO, Repo(card=card, tags=tags), {FILE: lora(), "sub/README.md": b"#"})
    folder = opened(server)
    assert folder.where == f"hf:{REPO}"
    assert sorted(folder.names) == [FILE, "sub/README.md"]
    assert folder.card is not None
    assert folder.card.is_lora
    assert folder.card.bases == ("base/sdxl",)
    assert folder.card.trigger_words == ("pixel art",)
    assert folder.card.license == "mit"


def test_a_file_in_lfs_is_pinned_without_a_download(server: Hub) -> None:
    repo = server.add(REPO, Repo(), {FILE: lora()})
    assert opened(server).pin(FILE) == Pin(
        HubFile(REPO, repo.main, FILE), repo.main, sha256(lora()), len(lora())
    )
    assert server.downloads() == 0


def test_a_file_outside_lfs_tells_no_hash_but_can_be_copied(server: Hub, tmp_path: Path) -> None:
    server.add(REPO, Repo(lfs=()), {FILE: lora()})
    folder = opened(server)
    assert folder.pin(FILE) is None
    folder.copy(FILE, tmp_path / "x", 1 << 20)
    assert (tmp_path / "x").read_bytes() == lora()


def test_a_commit_keeps_its_bytes_when_the_branch_moves(server: Hub, tmp_path: Path) -> None:
    repo = server.add(REPO, Repo(), {FILE: lora(1.0)})
    old = opened(server).pin(FILE)
    repo.commit({FILE: lora(2.0)})
    new = opened(server).pin(FILE)
    assert old is not None
    assert new is not None
    assert (old.sha256, new.sha256) == (sha256(lora(1.0)), sha256(lora(2.0)))
    assert opened(server, revision=old.revision).pin(FILE) == old
    assert isinstance(old.location, HubFile)
    source(server).fetch(old.location, False, tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == lora(1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_file_in_a_subfolder(server: Hub, tmp_path: Path) -> None:
    server.add(REPO, Repo(), {"my loras/é.safetensors": lora()})
    folder = opened(server)
    pin = folder.pin("my loras/é.safetensors")
    assert pin is not None
    folder.copy("my loras/é.safetensors", tmp_path / "x", 1 << 20)
    assert sha256((tmp_path / "x").read_bytes()) == pin.sha256


@pytest.mark.parametrize("hidden", ["gated", "private", "missing"])
def test_a_caller_does_not_learn_what_is_hidden(server: Hub, hidden: str) -> None:
    if hidden != "missing":
        repo = Repo(gated=hidden == "gated", private=hidden == "private")
        server.add(REPO, repo, {FILE: lora()})
    with pytest.raises(HubGated) as error:
        opened(server).pin(FILE)
    assert error.value.detail == (
        f"hf:{REPO} is gated, private or missing; only public repositories can be given in a "
        "job, the operator can register others"
    )
    assert server.tokens_seen() == {None}


@pytest.mark.parametrize("trust", [Trust.REGISTERED, Trust.CONFIGURED])
@pytest.mark.parametrize("hidden", ["gated", "private"])
def test_the_token_serves_what_the_operator_registered(
    server: Hub, tmp_path: Path, trust: Trust, hidden: str
) -> None:
    repo = Repo(gated=hidden == "gated", private=hidden == "private")
    server.add(REPO, repo, {FILE: lora()})
    pin = opened(server, trust=trust).pin(FILE)
    assert pin is not None
    assert isinstance(pin.location, HubFile)
    source(server).fetch(pin.location, True, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == lora()
    # The storage is another host: it gets signed links and no token.
    assert {r.authorization for r in server.requests if r.path.startswith("/cdn/")} == {None}
    hub_only = {r.authorization for r in server.requests if not r.path.startswith("/cdn/")}
    assert hub_only == {BEARER}


def test_a_callers_reference_is_asked_without_the_token(server: Hub, tmp_path: Path) -> None:
    server.add(REPO, Repo(lfs=()), {FILE: lora()})
    folder = opened(server)
    folder.copy(FILE, tmp_path / "x", 1 << 20)
    source(server).fetch(HubFile(REPO, server.repos[REPO].main, FILE), False, tmp_path / "y")
    assert len(server.requests) > 4
    assert server.tokens_seen() == {None}


def test_a_login_of_the_machine_is_never_used(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client itself reads this variable; ours is read into the settings only.
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_machine")
    server.add(REPO, Repo(lfs=()), {FILE: lora()})
    for trust in Trust:
        plain = HubSource(Settings(hf_endpoint=server.url, hf_token=None))
        folder = plain.open(HubReference(REPO), trust, REPO)
        folder.copy(FILE, tmp_path / "x", 1 << 20)
    assert server.tokens_seen() == {None}


@pytest.mark.parametrize(
    ("gated", "token", "says"),
    [
        (True, None, "accept its terms"),
        (False, None, "set HF_TOKEN"),
        (False, "hf_revoked", "with this HF_TOKEN"),
    ],
)
def test_the_operator_learns_how_to_read_it(
    server: Hub, gated: bool, token: str | None, says: str
) -> None:
    server.add(REPO, Repo(gated=gated, private=not gated), {FILE: lora()})
    with pytest.raises(HubGated, match=says):
        source(server, token=token).open(HubReference(REPO), Trust.REGISTERED, REPO).pin(FILE)


def test_a_missing_revision_is_said(server: Hub) -> None:
    server.add(REPO, Repo(), {FILE: lora()})
    with pytest.raises(LoraNotFound, match="no such revision"):
        opened(server, revision="v9")


def test_a_file_that_is_gone_is_said(server: Hub, tmp_path: Path) -> None:
    repo = server.add(REPO, Repo(), {FILE: lora()})
    with pytest.raises(LoraNotFound, match="no such file"):
        source(server).fetch(HubFile(REPO, repo.main, "y.safetensors"), False, tmp_path / "x")
    del server.repos[REPO]
    with pytest.raises(HubGated):
        source(server).fetch(HubFile(REPO, repo.main, FILE), False, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_large_file_is_refused_unread(server: Hub, tmp_path: Path) -> None:
    server.add(REPO, Repo(), {FILE: lora()})
    folder = source(server, max_bytes=100).open(HubReference(REPO), Trust.CALLER, REPO)
    with pytest.raises(LoraTooLarge, match="allowed are 100"):
        folder.pin(FILE)
    with pytest.raises(LoraTooLarge):
        folder.copy(FILE, tmp_path / "x", 100)
    assert server.downloads() == 0


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_that_is_down_may_come_back(server: Hub, tmp_path: Path, status: int) -> None:
    repo = server.add(REPO, Repo(), {FILE: lora()})
    server.broken = status
    with pytest.raises(LoraFetchFailed, match=str(status)):
        opened(server)
    with pytest.raises(LoraFetchFailed, match=str(status)):
        source(server).fetch(HubFile(REPO, repo.main, FILE), False, tmp_path / "x")
    # One question each: the queue repeats the job, so waiting here would only hold a worker.
    assert len(server.requests) == 2


def test_a_hub_that_does_not_listen(tmp_path: Path) -> None:
    with hub() as gone:
        pass
    with pytest.raises(LoraFetchFailed, match="does not answer"):
        opened(gone)
    with pytest.raises(LoraFetchFailed, match="does not answer"):
        source(gone).fetch(HubFile(REPO, "a" * 40, FILE), False, tmp_path / "x")


def test_an_endpoint_that_is_no_hub(server: Hub) -> None:
    server.page = b"<html>Sign in to the network</html>"
    with pytest.raises(LoraFetchFailed, match="no usable answer"):
        opened(server)
