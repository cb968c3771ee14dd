"""The processes that are to run: API, workers, courier."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from lorajobs.bearer import Bearer
from lorajobs.catalog import Catalog
from lorajobs.celery import COURIER_QUEUE, make_app
from lorajobs.doctor.finding import Finding, ok, warning, wrong
from lorajobs.loopback import is_local
from lorajobs.redis_keys import open_api_keys
from lorajobs.redis_store import open_job_store
from lorajobs.redis_tally import open_tally
from lorajobs.settings import Settings
from lorajobs.store import DRAINING, WorkerState
from lorajobs.tally import NO_JOBS
from lorajobs.tickets import TicketQueue

#: Seconds that processes have to answer; they do at once, even while they work.
PING_S = 2.0
TIMEOUT_S = 5.0


def api(settings: Settings) -> Iterator[Finding]:
    """Whether it answers, can do its work, and takes the key that is set."""
    url, key = settings.api_url.rstrip("/"), settings.api_key
    auth = Bearer(httpx.URL(url), key.get_secret_value()) if key else None
    try:
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as http:
            ready = http.get("/readyz")
            allowed = http.get("/v1/models", auth=auth)
    except httpx.HTTPError as error:
        text = f"no API answers at {url} ({type(error).__name__})"
        yield wrong(text, "start it: `lorajobs up` or `lorajobs api`; or correct LORAJOBS_API_URL")
        return
    if ready.status_code != httpx.codes.OK:
        yield wrong(f"{url} is not ready: {_detail(ready)}", "see the lines of redis and storage")
    else:
        yield ok(f"{url} is ready")
    yield _permission(allowed, key is not None)


def keys(settings: Settings) -> Iterator[Finding]:
    """Who may use the API."""
    made = len(open_api_keys(settings).all())
    if settings.require_keys == "never" and not is_local(settings):
        text = "LORAJOBS_REQUIRE_KEYS=never, and other machines reach the API: anybody may use it"
        yield warning(text, "set it to `auto`, unless something else guards the API")
    elif not made and not is_local(settings):
        yield wrong("no API key exists, and this API asks for one", "`lorajobs keys create NAME`")
    elif not made:
        yield ok("no API key: this machine's own programs need none")
    else:
        yield ok(f"{made} API key{'' if made == 1 else 's'}")


def workers(settings: Settings) -> Iterator[Finding]:
    """Whether each base has a worker that takes its jobs."""
    live = open_job_store(settings).workers()
    counts = open_tally(settings).tally().bases
    models = Catalog.load(settings.config).models
    for model in models:
        own = [worker for worker in live if worker.serves(model)]
        yield _served(model, own, counts.get(model, NO_JOBS).waiting)
    for model, count in counts.items():
        if model not in models and (waiting := count.waiting):
            text = f"{waiting} jobs wait for {model}, which is configured no more"
            yield wrong(text, f"configure it again, or `lorajobs purge {model}`")


def courier(settings: Settings) -> Iterator[Finding]:
    """Whether one answers over the broker."""
    app = make_app(settings)
    # It says in our words that the broker is away.
    TicketQueue(app, settings).depth(COURIER_QUEUE)
    found = _names(app.control.ping(timeout=PING_S) or ())
    couriers = [name for name in found if name.startswith("courier-")]
    if couriers:
        yield ok(f"{', '.join(couriers)} answers")
    else:
        text = (
            f"no courier answers within {PING_S:g} s: no webhook is sent, no lost ticket replaced"
        )
        yield wrong(text, "start one: `lorajobs courier`, or `lorajobs up` for everything")


def _names(replies: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    return sorted(name for reply in replies for name in reply)


def _served(model: str, own: Sequence[WorkerState], waiting: int) -> Finding:
    start = f"start one: `lorajobs worker --model {model}`"
    taking = [worker for worker in own if worker.takes_jobs]
    if taking:
        states = Counter(worker.state for worker in own)
        told = ", ".join(f"{count} {state}" for state, count in states.items())
        return ok(f"{model}: {told}, {waiting} jobs wait")
    if any(worker.state == DRAINING for worker in own):
        start = f"`lorajobs drain {own[0].name} --resume`, or {start}"
    if waiting:
        return wrong(f"{model}: {waiting} jobs wait, and no worker takes them", start)
    return warning(f"{model}: no worker takes its jobs", start)


def _permission(answer: httpx.Response, has_key: bool) -> Finding:
    if answer.status_code == httpx.codes.OK:
        return ok("it takes the key of LORAJOBS_API_KEY" if has_key else "it asks for no key")
    way_out = "`lorajobs keys create NAME`, then LORAJOBS_API_KEY for this machine's commands"
    what = "refuses the key of LORAJOBS_API_KEY" if has_key else "asks for a key"
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return (wrong if has_key else warning)(f"it {what}: {_detail(answer)}", way_out)
    return wrong(f"/v1/models answers {answer.status_code}: {_detail(answer)}", "see its log")


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail", ""))
    except ValueError:
        return f"status {answer.status_code}, not an answer of lorajobs"
