"""The least that a POST route can do, to compare the API with."""

from flask import Flask, request
from flask.typing import ResponseReturnValue


def create_app() -> Flask:
    """An application that reads a JSON body and answers with it."""
    app = Flask("bare")

    @app.post("/v1/jobs")
    def create() -> ResponseReturnValue:
        return request.get_json(), 202

    return app
