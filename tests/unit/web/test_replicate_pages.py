"""Replicate's surface beyond single predictions: lists, models, webhooks, keys."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from replicate.client import Client
from replicate.exceptions import ReplicateError
from replicate.prediction import Prediction
from replicate.stream import ServerSentEvent

from lorajobs.api_keys import Scope, create
from lorajobs.jobs import JobStatus, Outcome
from lorajobs.spec import ENDS
from tests.jobs import lease_of
from tests.shelf import Shelf
from tests.unit.web.painted import PaintedApi
from tests.unit.web.replicate_client import client_of
from web.replicate_shapes import ModelPrediction, translated

INPUT = {"prompt": "a red heart", "seed": 7}
HOOK = "https://receiver.example/hook"


@pytest.fixture
def api(shelf: Shelf) -> PaintedApi:
    return PaintedApi(shelf)


@pytest.fixture
def client(api: PaintedApi) -> Client:
    return client_of(api)


WEIGHTS = {
    "owner/style": ("hf:owner/style", None),
    "huggingface.co/owner/style": ("hf:owner/style", None),
    "https://huggingface.co/owner/style/tree/v1": ("hf:owner/style@v1", None),
    "https://huggingface.co/owner/style/resolve/main/a/b.safetensors?download=true": (
        "hf:owner/style@main",
        "a/b.safetensors",
    ),
    "owner/style/b.safetensors": ("hf:owner/style", "b.safetensors"),
    "https://files.example/b.safetensors": ("https://files.example/b.safetensors", None),
    "hf:owner/style": ("hf:owner/style", None),
    "s3://bucket/key": ("s3://bucket/key", None),
}


def test_weights_from_elsewhere_become_references(api: PaintedApi) -> None:
    with api.app.test_request_context("/v1/predictions"):
        api.app.preprocess_request()
        for weights, (path, weight_name) in WEIGHTS.items():
            asked = ModelPrediction.model_validate({"input": INPUT | {"lora_weights": weights}})
            (lora,) = translated("demo", asked, is_adapter=False).request().loras or ()
            assert (lora.path, lora.weight_name) == (path, weight_name), weights


def pages(client: Client) -> Iterator[list[Prediction]]:
    cursor: Any = ...
    while cursor is not None:
        page = client.predictions.list(cursor)
        yield page.results
        cursor = page.next


def test_the_list_goes_on_where_it_says(api: PaintedApi, client: Client) -> None:
    ids = {api.submit() for _ in range(101)}
    seen = [[prediction.id for prediction in page] for page in pages(client)]
    assert [len(page) for page in seen] == [100, 1]
    assert {job_id for page in seen for job_id in page} == ids
    for cursor in ("/v1/predictions?cursor=x", "/v1/predictions?limit=5"):
        with pytest.raises(ReplicateError) as refused:
            client.predictions.list(cursor)
        assert refused.value.status == 422


def test_bases_and_adapters_are_models(api: PaintedApi, client: Client) -> None:
    base = client.models.get("lorajobs/demo")
    assert (base.id, base.visibility, base.run_count) == ("lorajobs/demo", "public", 0)
    assert base.latest_version
    assert base.latest_version.id == "demo"
    assert client.models.get("owner/demo").id == "lorajobs/demo"
    client.run(base, input={**INPUT, "lora_weights": "pixel"})  # type: ignore[arg-type]
    client.run(base.latest_version, input=INPUT)  # type: ignore[arg-type]
    assert client.models.get("lorajobs/demo").run_count == 2
    adapter = client.models.get("lorajobs/pixel")
    assert (adapter.run_count, adapter.description) == (1, "A LoRA adapter of demo")
    (version,) = adapter.versions.list().results
    assert version.id == "pixel"
    known = version.openapi_schema["components"]["schemas"]["Input"]["properties"]
    assert (known["width"]["default"], known["height"]["default"]) == (128, 96)
    assert {"prompt", "lora_weights", "loras", "num_outputs"} <= set(known)


def test_what_nobody_knows_is_no_model(api: PaintedApi, client: Client) -> None:
    asks: tuple[Callable[[], object], ...] = (
        lambda: client.models.get("lorajobs/pixie"),
        lambda: client.models.get("black-forest-labs/flux-dev"),
        lambda: client.models.get("lorajobs/demo").versions.get("pixel"),
        lambda: client.run("lorajobs/pixie", input=INPUT),
    )
    for ask in asks:
        with pytest.raises(ReplicateError) as refused:
            ask()
        assert refused.value.status == 404
        assert "demo" in (refused.value.detail or "")
    assert not api.jobs


def test_the_native_list_of_models_wins(api: PaintedApi) -> None:
    assert set(api.client.get("/v1/models").get_json()) == {"models"}


@pytest.mark.parametrize(
    ("wanted", "events"),
    [
        (None, ENDS),
        (["completed"], ENDS),
        (["start", "output"], ("started", "succeeded")),
        (
            ["output", "logs", "completed"],
            ("succeeded", "progress", "failed", "canceled", "expired"),
        ),
    ],
)
def test_events_of_webhooks_are_mapped(
    api: PaintedApi, client: Client, wanted: list[str] | None, events: tuple[str, ...]
) -> None:
    filtered: Any = {"webhook_events_filter": wanted} if wanted else {}
    made = client.predictions.create("demo", INPUT, webhook=HOOK, **filtered)
    webhook = api.store.get(made.id).spec.webhook
    assert webhook
    assert (webhook.url, webhook.events, webhook.shape) == (HOOK, events, "prediction")


def test_a_filter_needs_its_webhook(client: Client) -> None:
    for filtered, told in ((["start"], "only with `webhook`"), (["done"], "an array of `start`")):
        with pytest.raises(ReplicateError) as refused:
            client.predictions.create("demo", INPUT, webhook_events_filter=filtered)
        assert told in (refused.value.detail or "")


def test_a_stream_tells_the_end_of_a_prediction_that_ended(api: PaintedApi, client: Client) -> None:
    def told(prediction: Prediction) -> list[tuple[str, str]]:
        return [(event.event.name, str(event.data)) for event in prediction.stream()]

    kinds = ServerSentEvent.EventType
    done = client.predictions.create("demo", {**INPUT, "num_outputs": 2}, wait=True)
    assert [kind for kind, _ in told(done)][-3:] == [kinds.OUTPUT.name] * 2 + [kinds.DONE.name]
    canceled = client.predictions.create("demo", INPUT, stream=True)
    canceled.cancel()
    ((kind, data),) = told(canceled)
    assert (kind, json.loads(data)) == ("DONE", {"reason": "canceled"})
    failed = client.predictions.create("demo", {**INPUT, "prompt": "fail:oom"})
    lease = lease_of(api.store.claim("demo", failed.id, "w", "t"))
    assert lease
    api.store.finish(lease, Outcome(status=JobStatus.FAILED))
    with pytest.raises(RuntimeError):
        told(failed)
    assert api.seats.taken == 0


def test_keys_count_here_too(shelf: Shelf) -> None:
    settings = shelf.settings.model_copy(update={"require_keys": "always"})
    api = PaintedApi(shelf, settings=settings)
    _, anna = create(api.keys, "anna", [Scope.SUBMIT, Scope.READ])
    _, ben = create(api.keys, "ben", [Scope.READ])
    own = client_of(api, anna).predictions.create("demo", INPUT, webhook=HOOK)
    other = client_of(api, ben)
    for hidden in (own.id, "nobody"):
        with pytest.raises(ReplicateError) as refused:
            other.predictions.get(hidden)
        assert refused.value.status == 404
    assert not other.predictions.list().results
    with pytest.raises(ReplicateError, match="needs the scope `submit`"):
        other.predictions.create("demo", INPUT)
    with pytest.raises(ReplicateError, match="status: 401"):
        client_of(api).predictions.list()
    # Each key's webhooks are signed with a secret of its own.
    secrets = {client_of(api, key).webhooks.default.secret().key for key in (anna, ben)}
    assert len(secrets) == 2
    old = api.client.get("/v1/predictions", headers={"Authorization": f"Token {anna}"})
    assert [one["id"] for one in old.get_json()["results"]] == [own.id]
