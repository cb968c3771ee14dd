"""A prompt that is not allowed, and a picture that was withheld, as a client sees them."""

from pathlib import Path

import pytest

from lorajobs.errors import ConfigError
from lorajobs.jobs import JobStatus, Outcome, Withheld
from lorajobs.moderation import PromptGate, Verdict
from lorajobs.moderation_errors import PromptBlocked
from lorajobs.settings import Settings
from lorajobs.word_list import WordList
from tests.jobs import a_spec, an_output, lease_of
from tests.shelf import Shelf
from tests.unit.web.api import REQUEST, Api, problem_of
from web import Deps

LIST = PromptGate(WordList(["gun"]))


class Broken:
    """A checker whose classifier is away."""

    def check(self, prompt: str, negative_prompt: str) -> Verdict:
        raise ConnectionError("internal detail")


def test_an_api_whose_checker_is_not_there_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^LORAJOBS_PROMPT_CHECKER: no checker is called 'word'"):
        Deps.open(Settings(prompt_checker="word", data_dir=tmp_path))
    words = tmp_path / "words.txt"
    words.write_text("gun")
    settings = Settings(prompt_checker="words", prompt_words=words, data_dir=tmp_path)
    with pytest.raises(PromptBlocked):
        Deps.open(settings).prompts.admit(a_spec(prompt="a gun"))


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs?dry_run=1"])
def test_a_blocked_prompt_is_refused_with_its_reason(shelf: Shelf, path: str) -> None:
    api = Api(shelf, prompts=LIST)
    answer = api.client.post(path, json=REQUEST | {"prompt": "a Gun", "negative_prompt": "gun"})
    document = problem_of(answer, 422, "prompt_blocked")
    assert document["errors"] == [{"pointer": "/prompt", "detail": "it must not hold 'gun'"}]
    assert api.client.get("/v1/jobs").get_json()["jobs"] == []
    assert api.client.post(path, json=REQUEST | {"negative_prompt": "gun"}).status_code < 300


def test_a_refusal_uses_up_no_idempotency_key(shelf: Shelf) -> None:
    api = Api(shelf, prompts=LIST)
    headers = {"Idempotency-Key": "once"}
    blocked = api.client.post("/v1/jobs", json=REQUEST | {"prompt": "gun"}, headers=headers)
    assert blocked.status_code == 422
    assert api.client.post("/v1/jobs", json=REQUEST, headers=headers).status_code == 202


def test_a_prompt_that_cannot_be_checked_is_not_accepted(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api(shelf, prompts=PromptGate(Broken()))
    answer = api.client.post("/v1/jobs", json=REQUEST)
    problem_of(answer, 503, "prompt_check_failed")
    assert "internal detail" not in answer.text
    assert "ConnectionError: internal detail" in caplog.text
    assert api.client.get("/v1/jobs").get_json()["jobs"] == []


def test_a_withheld_picture_has_its_place_and_no_link(api: Api) -> None:
    job_id = api.submit(num_images=2)
    lease = lease_of(api.store.claim("demo", job_id, "w", "t"))
    assert lease
    withheld = Withheld(index=0, width=128, height=128, seed=7)
    outputs = (withheld, an_output(index=1, nsfw=False))
    assert api.store.finish(lease, Outcome(status=JobStatus.SUCCEEDED, outputs=outputs))
    first, second = api.client.get(f"/v1/jobs/{job_id}").get_json()["outputs"]
    assert (first["index"], first["nsfw"], first["url"], first["seed"]) == (0, True, None, 7)
    assert (second["index"], second["nsfw"]) == (1, False)
    assert second["url"].startswith("http")
    answer = api.client.get(f"/v1/jobs/{job_id}/outputs/0")
    document = problem_of(answer, 404, "output_not_found")
    assert document["detail"] == "picture 0 was withheld: a checker flagged it"
    assert api.client.get(f"/v1/jobs/{job_id}/outputs/1").status_code == 302
