"""Hugging Face's and OpenAI's real clients, as people use them, against a painted API over HTTP."""

import base64
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from huggingface_hub import InferenceClient, InferenceTimeoutError
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image
from werkzeug.serving import make_server

from lorajobs.api_keys import Scope, create
from lorajobs.jobs import JobStatus
from tests.services.server import HOST, serving
from tests.shelf import Shelf
from tests.unit.web.painted import PaintedApi

KEY = "none"


class Service:
    """A painted API behind a real server."""

    def __init__(self, api: PaintedApi, url: str) -> None:
        self.api = api
        self.url = url
        #: what the clients' contexts close
        self.open = ExitStack()

    def hugging_face(self, path: str = "", token: str = KEY, **options: Any) -> InferenceClient:
        return InferenceClient(base_url=self.url + path, token=token, **options)

    def openai(self, key: str = KEY, **options: Any) -> openai.OpenAI:
        made = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, **options)
        return self.open.enter_context(made)

    def picture(self, prompt: str = "a cup of coffee", **extra_body: Any) -> Image.Image:
        """As vLLM-Omni's documentation has it for OpenAI's client."""
        answer = self.openai().chat.completions.create(
            model="demo", messages=[{"role": "user", "content": prompt}], extra_body=extra_body
        )
        content: Any = answer.choices[0].message.content
        _, _, data = content[0]["image_url"]["url"].partition(",")
        return Image.open(io.BytesIO(base64.b64decode(data)))

    @property
    def prompts(self) -> set[str]:
        return {job.spec.prompt for job in self.api.jobs}


@contextmanager
def serve(folder: Path, **settings: Any) -> Iterator[Service]:
    shelf = Shelf(folder)
    shelf.settings = shelf.settings.model_copy(update={"heartbeat_s": 0.05, **settings})
    api = PaintedApi(shelf)
    with serving(make_server(HOST, 0, api.app, threaded=True)) as server:
        service = Service(api, f"http://{HOST}:{server.port}")
        with service.open:
            yield service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serve(tmp_path_factory.mktemp("service")) as made:
        yield made


def test_hugging_face_gets_its_picture(service: Service) -> None:
    image = service.hugging_face().text_to_image(
        "an elephant",
        negative_prompt="blur",
        height=64,
        width=96,
        num_inference_steps=4,
        guidance_scale=3.0,
        scheduler="EulerDiscreteScheduler",
        seed=7,
    )
    # Its client asks for PNG.
    assert (image.format, image.size) == ("PNG", (96, 64))
    assert image.info["prompt"] == "an elephant"
    assert image.info["scheduler"] == "EulerDiscreteScheduler"


def test_hugging_face_gets_what_an_adapter_makes(service: Service) -> None:
    def painted(client: InferenceClient, **extra: Any) -> Image.Image:
        return client.text_to_image("an elephant", seed=7, **extra)

    bare = painted(service.hugging_face())
    loras = {"loras": [{"id": "pixel", "scale": 0.8}]}
    styled = [
        painted(service.hugging_face(headers={"lora": "pixel"})),
        painted(service.hugging_face(), extra_body=loras),
        painted(service.hugging_face("/models/pixel")),
        painted(InferenceClient(model=f"{service.url}/models/pixel", token=KEY)),
    ]
    assert {image.info["loras"] for image in styled} == {styled[0].info["loras"]}
    assert '"pixel"' in styled[0].info["loras"]
    assert {image.tobytes() for image in styled} == {styled[0].tobytes()}
    assert bare.info["loras"] == "[]"
    assert bare.tobytes() != styled[0].tobytes()


@pytest.mark.parametrize(
    ("path", "lora", "prompt", "said"),
    [
        ("", None, "a fail:bad_picture", "the prompt asked for bad_picture"),
        ("", "pixl", "p", 'lora: no adapter is registered as "pixl"'),
        ("/models/nix", None, "p", "no base model or adapter is called"),
    ],
)
def test_hugging_face_reads_what_went_wrong(
    service: Service, path: str, lora: str | None, prompt: str, said: str
) -> None:
    client = service.hugging_face(path, headers={"lora": lora} if lora else {})
    with pytest.raises(HfHubHTTPError) as failed:
        client.text_to_image(prompt)
    assert said in str(failed.value.server_message)


def test_a_misspelled_parameter_of_hugging_face_is_no_success(service: Service) -> None:
    with pytest.raises(HfHubHTTPError, match=r"parameters.steps: unknown field"):
        service.hugging_face().text_to_image("p", extra_body={"steps": 3})


def test_openai_gets_its_picture(service: Service) -> None:
    image = service.picture(height=64, width=96, num_inference_steps=4, seed=7)
    assert (image.format, image.size) == ("PNG", (96, 64))
    lora = {"name": "mine", "local_path": "pixel", "scale": 0.8}
    styled = service.picture(height=64, width=96, num_inference_steps=4, seed=7, lora=lora)
    assert styled.tobytes() != image.tobytes()
    assert '"pixel"' in styled.info["loras"]


def test_openai_does_not_repeat_a_job_that_failed(service: Service) -> None:
    prompt = "a fail:internal once"
    with pytest.raises(openai.InternalServerError, match="the prompt asked for internal"):
        service.picture(prompt)
    assert [job.spec.prompt for job in service.api.jobs].count(prompt) == 1


def test_openai_reads_what_is_wrong(service: Service) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        service.picture("of nothing", lora_request={"path": "pixl"})
    assert (refused.value.code, refused.value.param) == ("lora_not_found", "lora_request.path")
    message: Any = {"role": "user", "content": "of nobody"}
    with pytest.raises(openai.NotFoundError):
        service.openai().chat.completions.create(model="nix", messages=[message])
    assert not {"of nothing", "of nobody"} & service.prompts


def test_a_rate_is_told_to_both(tmp_path: Path) -> None:
    with serve(tmp_path) as service:
        _, secret = create(service.api.keys, "slow", [Scope.SUBMIT], rate=1)
        assert service.hugging_face(token=secret).text_to_image("first")
        with pytest.raises(HfHubHTTPError) as limited:
            service.hugging_face(token=secret).text_to_image("second")
        assert limited.value.response.status_code == 429
        with pytest.raises(openai.RateLimitError):
            service.openai(secret, max_retries=0).chat.completions.create(
                model="demo", messages=[{"role": "user", "content": "third"}]
            )
        with pytest.raises(HfHubHTTPError, match="no such key is in use"):
            service.hugging_face().text_to_image("fourth")
        assert service.prompts == {"first"}


def test_a_job_outlives_the_patience_of_both(tmp_path: Path) -> None:
    with serve(tmp_path, sync_wait_s=0.2) as service:
        service.api.painter.works = False
        with pytest.raises(HfHubHTTPError, match=r"goes on .* GET https://api.example/v1/jobs/"):
            service.hugging_face().text_to_image("first")
        with pytest.raises(openai.InternalServerError) as late:
            service.picture("second")
        assert (late.value.status_code, late.value.code) == (504, "not_ended_in_time")
        (first, second) = service.api.jobs
        assert {first.status, second.status} == {JobStatus.QUEUED}
        assert late.value.response.headers["X-Job-Id"] in (first.id, second.id)


def test_a_client_that_hangs_up_leaves_its_job(tmp_path: Path) -> None:
    with serve(tmp_path) as service:
        service.api.painter.works = False
        with pytest.raises(InferenceTimeoutError):
            service.hugging_face(timeout=0.3).text_to_image("left alone")
        (job,) = service.api.jobs
        assert (job.spec.prompt, job.status) == ("left alone", JobStatus.QUEUED)
        service.api.seats.close()
