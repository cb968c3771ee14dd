"""The log of every process: set up once, in one format, and one line for each step of a job.

What a thread works on (a request, a job) is bound to it by `about`, so that every line that it
writes meanwhile says so too.
"""

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TextIO

from lorajobs.document import without_secrets
from lorajobs.jobs import Job, JobStatus
from lorajobs.settings import Settings

#: The header that carries a request's id, of answers and webhooks too.
REQUEST_ID = "X-Request-ID"
#: What is taken for one; no space and no quote, so that it can stand in any log.
_GOOD_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)
#: Ours and those of the servers that run us. Others tell URLs at INFO, headers at DEBUG.
_FOLLOWED = ("lorajobs", "web", "celery", "kombu", "gunicorn")
#: Celery tells of each task what our own lines tell of its job; Python's warnings are advice.
_HELD_BACK = ("celery.worker.strategy", "celery.app.trace", "py.warnings")
#: What of its job every line tells that was written meanwhile.
_BRIEF = ("job", "attempt", "request_id")
#: What would begin a line of its own in a log for people, or steer their terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PLAIN = re.compile(r"[^\s\"'=\x00-\x1f\x7f]+")

Facts = Mapping[str, object]

_facts: ContextVar[Facts] = ContextVar("facts", default=MappingProxyType({}))
_steps = logging.getLogger("lorajobs.steps")


def set_up(settings: Settings, process: str, stream: TextIO | None = None) -> None:
    """Sends this process's log to `stream` (stderr), called `process` there."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(process) if settings.log_format == "json" else ConsoleLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # They would stand between the lines.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").filters = [_as_advice]
    for name in _FOLLOWED:
        logging.getLogger(name).setLevel(settings.log_level)
    for name in _HELD_BACK:
        level = max(logging.WARNING, logging.getLevelName(settings.log_level))
        logging.getLogger(name).setLevel(level)


def _as_advice(record: logging.LogRecord) -> bool:
    """For developers: no operator is to be alarmed by it."""
    record.levelno, record.levelname = logging.INFO, "INFO"
    return True


@contextmanager
def about(**facts: object) -> Iterator[None]:
    """Adds these to what every line of this thread says until the end of the block."""
    token = _facts.set({**_facts.get(), **facts})
    try:
        yield
    finally:
        _facts.reset(token)


def about_job(job: Job, attempt: int | None = None) -> AbstractContextManager[None]:
    """The same with what is told of a job: never its prompt, nor the secrets of its URLs."""
    loras = [{"id": without_secrets(u.adapter.id), "scale": u.scale} for u in job.spec.loras]
    facts: dict[str, object] = {"job": job.id, "base": job.spec.model, "adapters": loras}
    if attempt or job.attempt:
        facts["attempt"] = attempt or job.attempt
    if job.spec.request_id:
        facts["request_id"] = job.spec.request_id
    return about(**facts)


def about_request(given: str | None) -> str:
    """Begins a request of this thread; the id that it goes by, its own if that is a good one."""
    request_id = given if given and _GOOD_ID.fullmatch(given) else uuid.uuid4().hex
    _facts.set({"request_id": request_id})
    return request_id


def forget_request() -> None:
    """Ends it: what this thread does next is about something else."""
    _facts.set(MappingProxyType({}))


def request_id() -> str:
    """The id of the request that this thread works for, empty if there is none."""
    return str(_facts.get().get("request_id", ""))


def step(event: str, level: int = logging.INFO, **facts: object) -> None:
    """Tells one step of the job that this thread is about, such as `claimed`.

    Durations are called `…_ms`; what is None is left out.
    """
    if _steps.isEnabledFor(level):
        told = {name: value for name, value in facts.items() if value is not None}
        _steps.log(level, event, extra={"facts": {**_facts.get(), **told}})


def canceled(job: Job) -> None:
    """Tells that a job was canceled, or asked to stop, and by which request."""
    if job.status in (JobStatus.CANCELED, JobStatus.RUNNING):
        asked_by, done = request_id() or None, job.status is JobStatus.CANCELED
        with about_job(job):
            step("canceled" if done else "cancel asked", asked_by=asked_by)


def ms(seconds: float | None) -> float | None:
    """Seconds as milliseconds, to a tenth."""
    return None if seconds is None else round(1000 * seconds, 1)


def _facts_of(record: logging.LogRecord) -> Facts:
    """All that a step tells, or of which job and request another line is."""
    told: Facts | None = getattr(record, "facts", None)
    if told is not None:
        return told
    here = _facts.get()
    return {name: here[name] for name in _BRIEF if name in here}


class JsonLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `process`, then `event` or `logger`, `message`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line, its traceback too."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        # The level comes before any word that somebody else chose.
        line: dict[str, object] = {
            "time": f"{at}.{record.msecs:03.0f}Z",
            "level": record.levelname,
            "process": self._process,
            "pid": record.process,
        }
        if hasattr(record, "facts"):
            line["event"] = record.getMessage()
        else:
            line |= {"logger": record.name, "message": record.getMessage()}
        line |= _facts_of(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class ConsoleLines(logging.Formatter):
    """The same for people: the facts as `name=value` behind the text."""

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line, and its traceback below."""
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        source = "" if hasattr(record, "facts") else f"{record.name}: "
        facts = "".join(f" {name}={_shown(value)}" for name, value in _facts_of(record).items())
        text = _CONTROL.sub(lambda found: repr(found[0])[1:-1], record.getMessage())
        head = f"{at},{record.msecs:03.0f} {record.levelname:<7} {source}{text}"
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return head + facts + trace


def _shown(value: object) -> str:
    if isinstance(value, list):
        # Adapters; without any a dash, so that each line has as many columns.
        value = ",".join(f"{use['id']}×{use['scale']:g}" for use in value) or "-"
    if isinstance(value, Mapping):
        value = ",".join(f"{name}:{count}" for name, count in value.items()) or "-"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
