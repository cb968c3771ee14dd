"""The least that routes can do, to compare the API with."""

from flask import Flask, request
from flask.typing import ResponseReturnValue


def create_app() -> Flask:
    """An application that answers with the body, or with the id that was asked for."""
    app = Flask("bare")

    @app.post("/v1/jobs")
    def create() -> ResponseReturnValue:
        return request.get_json(), 202

    @app.get("/v1/jobs/<job_id>")
    def show(job_id: str) -> ResponseReturnValue:
        return {"id": job_id, "status": "queued"}

    return app
