"""The HTTP API: parses requests, calls lorajobs, writes JSON; loads no model."""

from flask import Flask, Response, g, request

from lorajobs import logs
from lorajobs.settings import Settings
from web import errors, gate
from web.admin import admin
from web.deliveries import deliveries
from web.deps import EXTENSION, Deps
from web.events import events
from web.files import files
from web.health import health
from web.huggingface import huggingface
from web.images import images
from web.jobs import jobs
from web.loras import loras
from web.metrics import metrics
from web.models import models
from web.openai_images import openai_images
from web.openapi import openapi
from web.pages import pages
from web.replicate import replicate
from web.uploads import uploads
from web.usage import usage
from web.vllm_omni import vllm_omni
from web.webhooks import webhooks

__all__ = ["Deps", "create_app"]


def create_app(deps: Deps | None = None) -> Flask:
    """Makes the application; gunicorn's target is `web:create_app()`.

    Without `deps` everything is opened as the environment says.
    Raises: ConfigError.
    """
    deps = deps or Deps.open(Settings.from_env())
    app = Flask("web", static_folder=None)
    app.extensions[EXTENSION] = deps
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    for blueprint in (
        jobs,
        deliveries,
        events,
        models,
        loras,
        uploads,
        files,
        images,
        usage,
        webhooks,
        admin,
        health,
        metrics,
        openapi,
        replicate,
        openai_images,
        huggingface,
        vllm_omni,
        pages,
    ):
        app.register_blueprint(blueprint)
    errors.register(app)
    app.before_request(_begin)
    gate.register(app)
    app.after_request(_finish)
    app.teardown_request(_end)
    return app


def _begin() -> None:
    g.request_id = logs.about_request(request.headers.get(logs.REQUEST_ID))


def _end(_: BaseException | None) -> None:
    logs.forget_request()


def _finish(response: Response) -> Response:
    response.headers[logs.REQUEST_ID] = g.request_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.path.startswith("/v1/"):
        # Every answer is of this moment, and holds URLs that expire.
        response.headers.setdefault("Cache-Control", "no-store")
    return response
