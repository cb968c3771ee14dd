"""`/healthz`: this process lives. `/readyz`: it can also do its work."""

from collections.abc import Callable

from flask import Blueprint, Response, jsonify

from lorajobs.errors import LoraJobsError
from web.deps import deps
from web.errors import RETRY_AFTER_S, Fault, problem

health = Blueprint("health", __name__)


@health.get("/healthz")
def alive() -> Response:
    """Says that the process answers."""
    return jsonify(status="ok")


@health.get("/readyz")
def ready() -> Response:
    """Asks each dependency, and says which one is down."""
    d = deps()
    checks = {
        "store": _check(d.fleet.backlog),
        "storage": _check(lambda: d.objects.exists("readyz")),
    }
    down = [name for name, state in checks.items() if state != "ok"]
    if not down:
        return jsonify(status="ok", checks=checks)
    detail = "; ".join(f"{name}: {checks[name]}" for name in down)
    fault = Fault(503, "not_ready", "Not ready", detail, retryable=True)
    response = problem(fault, checks=checks)
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _check(ask: Callable[[], object]) -> str:
    try:
        ask()
    except LoraJobsError as error:
        return error.detail
    except OSError as error:
        return str(error)
    return "ok"
