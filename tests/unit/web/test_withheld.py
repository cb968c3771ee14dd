"""Pictures that were withheld, as the clients of other APIs see them."""

from collections.abc import Sequence
from typing import Any

import pytest
from PIL.Image import Image

from lorajobs.moderation import Flag
from tests.shelf import Shelf
from tests.unit.web.painted import PaintedApi

MESSAGES = [{"role": "user", "content": "a red heart"}]


class Later:
    """Flags every picture but the first of several."""

    def check(self, images: Sequence[Image]) -> Sequence[Flag]:
        return [Flag(index > 0 or len(images) == 1, "too red") for index, _ in enumerate(images)]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> PaintedApi:
    made = PaintedApi(Shelf(tmp_path_factory.mktemp("withheld")))
    made.painter.checker = Later()
    return made


def test_openai_s_clients_are_told_how_many(api: PaintedApi) -> None:
    asked = {"prompt": "a red heart", "n": 3}
    document = api.client.post("/v1/images/generations", json=asked).get_json()
    assert (len(document["data"]), document["withheld"]) == (1, 2)
    assert [warning["code"] for warning in document["warnings"]] == ["picture_withheld"] * 2


def test_vllm_omni_s_clients_are_told_which(api: PaintedApi) -> None:
    answer = api.client.post("/v1/chat/completions", json={"messages": MESSAGES, "n": 3})
    document = answer.get_json()
    assert len(document["choices"][0]["message"]["content"]) == 1
    assert [warning["detail"] for warning in document["warnings"]] == [
        "picture 1 is withheld: too red",
        "picture 2 is withheld: too red",
    ]


def test_replicate_s_clients_read_it_in_the_logs(api: PaintedApi) -> None:
    asked = {"version": "demo", "input": {"prompt": "a red heart", "num_outputs": 3}}
    made = api.client.post("/v1/predictions", json=asked, headers={"Prefer": "wait=5"}).get_json()
    assert (made["status"], len(made["output"])) == ("succeeded", 1)
    assert "Withheld 2 of 3 pictures" in made["logs"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/", {"inputs": "a red heart"}, 422),
        ("/v1/images/generations", {"prompt": "a red heart"}, 400),
        ("/v1/chat/completions", {"messages": MESSAGES}, 400),
    ],
)
def test_none_that_is_left_is_an_error_with_a_way_out(
    api: PaintedApi, path: str, body: dict[str, Any], status: int
) -> None:
    answer = api.client.post(path, json=body)
    assert answer.status_code == status
    assert "nsfw_blocked" in answer.text
    assert "too red; another seed or prompt may pass" in answer.text


def test_for_replicate_it_is_a_failed_prediction(api: PaintedApi) -> None:
    asked = {"version": "demo", "input": {"prompt": "a red heart"}}
    made = api.client.post("/v1/predictions", json=asked, headers={"Prefer": "wait=5"}).get_json()
    assert (made["status"], made["output"]) == ("failed", None)
    assert "too red; another seed or prompt may pass" in made["error"]
