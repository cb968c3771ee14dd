"""The official clients of Replicate and OpenAI, unmodified, against the API as its own server."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from PIL import Image
from replicate.client import Client
from replicate.exceptions import ModelError
from replicate.prediction import Prediction
from replicate.stream import ServerSentEvent
from replicate.webhook import Webhooks
from standardwebhooks import Webhook

from tests.services.line import Line, line
from tests.services.receiver import Receiver, receiver
from tests.services.valkey import valkey

MODEL = "lorajobs/demo"
INPUT = {"prompt": "a red heart", "seed": 7, "num_inference_steps": 4}
#: At a step of 10 ms: eight seconds.
LONG = {"prompt": "a red heart", "num_inference_steps": 100, "num_outputs": 8}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("clients")
    with (
        valkey(tmp_path_factory.mktemp("clients-valkey")) as server,
        line(
            folder,
            LORAJOBS_REDIS_URL=server.url,
            LORAJOBS_SWEEP_S="0.1",
        ) as made,
    ):
        made.start_api()
        made.start_courier()
        made.start_painter(step_s=0.01)
        yield made


@pytest.fixture(scope="module")
def client(running: Line) -> Iterator[Client]:
    # Its own, since the client cannot be closed.
    with httpx.HTTPTransport() as transport:
        made = Client("none", base_url=running.url, transport=transport)
        made.poll_interval = 0.02
        yield made


@pytest.fixture(scope="module")
def images(running: Line) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(api_key="none", base_url=f"{running.url}/v1", http_client=http) as made:
        yield made


def picture(data: bytes) -> list[Any]:
    """The pixels, of what must be a picture."""
    image = Image.open(io.BytesIO(data))
    assert image.size == (128, 128)
    return list(image.convert("RGB").tobytes())


def download(url: str) -> bytes:
    return httpx.get(url, trust_env=False).raise_for_status().content


def status_of(prediction: Prediction) -> str:
    return prediction.status


def run(client: Client, ref: str = MODEL, **fields: Any) -> list[Any]:
    (url,) = client.run(ref, input={**INPUT, **fields})
    return picture(download(url))


def test_replicate_runs_a_model_a_version_and_an_adapter(client: Client) -> None:
    bare = run(client)
    assert run(client, f"{MODEL}:demo") == bare
    weak = run(client, lora_weights="pixel", lora_scale=0.4)
    assert weak != bare
    # An adapter is a model too, with a scale of its own.
    assert run(client, "lorajobs/pixel", lora_scale=0.4) == weak
    assert run(client, "lorajobs/pixel", extra_lora="lineart") != run(client, "lorajobs/pixel")


def test_replicate_follows_a_prediction_and_cancels_it(client: Client) -> None:
    prediction = client.predictions.create("demo", LONG, wait=2)
    # While it runs: any other word would be taken for the last.
    assert status_of(prediction) == "starting"
    prediction.reload()
    while not prediction.progress:
        prediction.reload()
    assert status_of(prediction) == "processing"
    assert 0 < prediction.progress.percentage < 1
    assert prediction.progress.total == 800
    prediction.cancel()
    prediction.wait()
    assert (prediction.status, prediction.output) == ("canceled", None)
    prediction.cancel()
    assert prediction.status == "canceled"
    assert client.predictions.list().results[0].id == prediction.id


def test_replicate_is_told_why_a_prediction_failed(client: Client) -> None:
    with pytest.raises(ModelError, match="the prompt asked for bad_picture"):
        client.run(MODEL, input={**INPUT, "prompt": "fail:bad_picture"})


def test_replicate_streams_a_prediction(client: Client) -> None:
    kinds = ServerSentEvent.EventType
    events = list(client.stream(MODEL, input={**INPUT, "num_inference_steps": 40}))
    found = [event.event for event in events]
    assert found[-2:] == [kinds.OUTPUT, kinds.DONE]
    assert kinds.LOGS in found
    logs = [event.data for event in events if event.event is kinds.LOGS]
    assert all(Prediction.Progress.parse(line) for line in logs)
    picture(download(events[-2].data))
    failing = client.stream(MODEL, input={**INPUT, "prompt": "fail:bad_picture"})
    with pytest.raises(RuntimeError, match="bad_picture"):
        list(failing)


@pytest.fixture
def hooked() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def test_replicate_s_webhook_is_a_prediction_that_three_libraries_verify(
    client: Client, images: openai.OpenAI, hooked: Receiver
) -> None:
    client.run(MODEL, input=INPUT, webhook=hooked.url, webhook_events_filter=["completed"])
    (hook,) = hooked.wait(1)
    secret, headers, body = client.webhooks.default.secret(), dict(hook.headers), hook.body.decode()
    Webhooks.validate(headers=headers, body=body, secret=secret)
    images.webhooks.verify_signature(body, headers, secret=secret.key)
    told = Prediction(**Webhook(secret.key).verify(body, headers))
    assert (told.status, told.input and told.input["prompt"]) == ("succeeded", "a red heart")
    assert told.dict() == client.predictions.get(told.id).dict() | {"output": told.output}
    picture(download(told.output[0]))  # type: ignore[index]
    with pytest.raises(ValueError, match="signature is invalid"):
        Webhooks.validate(headers=headers, body=body.replace("7", "8"), secret=secret)


def generated(images: openai.OpenAI, **fields: Any) -> openai.types.ImagesResponse:
    extra = {"num_inference_steps": 4, "seed": 7, **fields.pop("extra_body", {})}
    asked = {"prompt": "a red heart", **fields, "extra_body": extra}
    made: openai.types.ImagesResponse = images.images.generate(**asked)
    return made


def files(response: openai.types.ImagesResponse) -> list[list[Any]]:
    assert response.data
    return [picture(base64.b64decode(image.b64_json or "")) for image in response.data]


def test_openai_gets_pictures(images: openai.OpenAI, client: Client) -> None:
    (bare,) = files(generated(images))
    assert bare == run(client)
    assert len(files(generated(images, model="demo", n=2, size="128x128", user="u1"))) == 2
    response = generated(images, response_format="url", output_format="webp")
    assert response.data
    data = download(response.data[0].url or "")
    assert data[8:12] == b"WEBP"
    assert (response.size, response.output_format) == ("128x128", "webp")
    lora = {"name": "pixel", "scale": 0.4}
    shown = generated(images, extra_body={"lora": lora})
    assert files(shown) == files(
        generated(images, model="pixel", extra_body={"loras": [{"id": "pixel", "scale": 0.4}]})
    )
    assert files(shown) != [bare]
    (applied,) = shown.applied_loras  # type: ignore[attr-defined]
    assert (applied["id"], applied["scale"]) == ("pixel", 0.4)


def test_openai_does_not_repeat_what_is_in_the_queue(images: openai.OpenAI, running: Line) -> None:
    def jobs() -> int:
        return len(running.http.get("/v1/jobs?limit=100").json()["jobs"])

    before = jobs()
    with pytest.raises(openai.InternalServerError) as failed:
        generated(images, prompt="fail:bad_picture")
    assert failed.value.code == "bad_picture"
    assert jobs() == before + 1
