"""One format for every process's log, and what its lines tell of a job."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lorajobs import logs
from lorajobs.moved import Moved, rescued
from lorajobs.processes.logs import ProcessLog
from lorajobs.settings import Settings
from tests.jobs import a_job, use

PROMPT = "a very private prompt"
FOLLOWED = ("", "lorajobs", "web", "celery", "kombu", "gunicorn", *logs._HELD_BACK)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """The log of the test process itself is left as it was."""
    root = logging.getLogger()
    handlers, levels = root.handlers, {name: logging.getLogger(name).level for name in FOLLOWED}
    yield
    root.handlers = handlers
    logging.captureWarnings(False)
    logging.getLogger("py.warnings").filters = []
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def log_of(kind: str, level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    settings = Settings(log_format=kind, log_level=level)
    logs.set_up(settings, "worker-1", stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


SIGNED = "https://user:pass@example.com/a.safetensors?signature=secret"


def a_told_job() -> AbstractContextManager[None]:
    loras = (use("pixel", 0.8), use(SIGNED))
    return logs.about_job(a_job(prompt=PROMPT, loras=loras, request_id="r-1"), attempt=2)


def test_a_step_tells_the_job_its_adapters_and_durations() -> None:
    stream = log_of("json")
    with a_told_job():
        logs.step("generated", generate_ms=logs.ms(1.23456), upload_ms=None)
    (line,) = lines(stream)
    assert line["event"] == "generated"
    assert line["process"] == "worker-1"
    assert (line["attempt"], line["base"], line["request_id"]) == (2, "demo", "r-1")
    assert line["adapters"] == [
        {"id": "pixel", "scale": 0.8},
        {"id": "https://example.com/a.safetensors?…", "scale": 1.0},
    ]
    assert line["generate_ms"] == 1234.6
    assert "upload_ms" not in line


@pytest.mark.parametrize("kind", ["json", "console"])
def test_no_line_holds_a_prompt_or_the_secrets_of_a_url(kind: str) -> None:
    stream = log_of(kind)
    with a_told_job():
        logs.step("accepted")
        logging.getLogger("lorajobs.run").warning("something else")
    told = stream.getvalue()
    assert len(told.splitlines()) == 2
    assert all(secret not in told for secret in (PROMPT, "pass", "signature", "secret"))


def test_other_lines_of_a_job_tell_which_it_was() -> None:
    stream = log_of("json")
    with a_told_job():
        logging.getLogger("lorajobs.attempt").warning("progress not told: %s", "it is away")
    logging.getLogger("lorajobs.courier").info("a round")
    inside, outside = lines(stream)
    assert inside["message"] == "progress not told: it is away"
    assert (inside["attempt"], inside["request_id"]) == (2, "r-1")
    assert "adapters" not in inside
    assert "job" not in outside


def test_on_the_console_a_step_is_one_line_whatever_stands_in_it() -> None:
    stream = log_of("console")
    with a_told_job(), logs.about(reason='two\nlines, "quoted" ERROR'):
        logs.step("failed", logging.WARNING)
        logging.getLogger("web").error("GET /v1/jobs/%s", "a\n2026 INFO \x1b[2K")
    line, path = stream.getvalue().splitlines()
    assert " ERROR   web: GET /v1/jobs/a\\n2026 INFO \\x1b[2K " in path
    assert " WARNING failed job=" in line
    assert "adapters=pixel×0.8,https://example.com/a.safetensors?…×1" in line
    assert r'reason="two\nlines, \"quoted\" ERROR"' in line


@pytest.mark.parametrize("kind", ["json", "console"])
def test_up_shows_what_is_a_warning_and_files_the_rest(kind: str, tmp_path: Path) -> None:
    stream = log_of(kind)
    logs.step("accepted", reason="a WARNING in words")
    logs.step("failed", logging.WARNING)
    filed = ProcessLog(tmp_path / "api.log")
    (shown,) = filed.feed(stream.getvalue().encode())
    filed.close()
    assert "failed" in shown


def test_a_traceback_belongs_to_its_line() -> None:
    stream = log_of("json")
    try:
        raise ValueError("it broke")
    except ValueError:
        logging.getLogger("lorajobs.run").exception("attempt failed")
    (line,) = lines(stream)
    assert line["level"] == "ERROR"
    assert "ValueError: it broke" in str(line["traceback"])


def test_libraries_that_tell_urls_and_celerys_doubles_are_quiet() -> None:
    stream = log_of("json", "INFO")
    logging.getLogger("httpx").info("GET https://x/?signature=secret")
    logging.getLogger("celery.app.trace").info("Task succeeded")
    logging.getLogger("celery.worker").info("connected")
    assert [line["logger"] for line in lines(stream)] == ["celery.worker"]


@pytest.mark.filterwarnings("default")
def test_a_warning_of_pythons_is_a_line_and_alarms_nobody() -> None:
    stream = log_of("json")
    warnings.warn("you are root", UserWarning, stacklevel=1)
    (line,) = lines(stream)
    assert (line["level"], line["logger"]) == ("INFO", "py.warnings")
    assert "you are root" in str(line["message"])


def test_a_level_above_info_leaves_the_steps_out() -> None:
    stream = log_of("json", "ERROR")
    logs.step("accepted")
    logging.getLogger("celery.app.trace").warning("no")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("given", ["a-1", "01J:x/y.z_=+@", "x" * 128])
def test_a_good_request_id_is_kept(given: str) -> None:
    assert logs.about_request(given) == given == logs.request_id()


@pytest.mark.parametrize("given", [None, "", "x" * 129, "two words", "a\nb", 'q"', "é"])
def test_another_is_replaced(given: str | None) -> None:
    made = logs.about_request(given)
    assert made not in (given, "")
    assert len(made) == 32


def test_what_the_rescue_moved_is_told_job_by_job() -> None:
    stream = log_of("json")
    moved = [
        Moved("queued", "a", "demo", "r-1"),
        Moved("due", "b", "demo", ""),
        Moved("failed", "c", "demo", "r-3"),
        Moved("expired", "d", "other", ""),
    ]
    assert rescued(moved) == ({"demo": 2}, 2)
    told = [(line["event"], line["job"], line["level"]) for line in lines(stream)]
    assert told == [
        ("rescued", "a", "WARNING"),
        ("requeued", "b", "INFO"),
        ("failed", "c", "WARNING"),
        ("expired", "d", "WARNING"),
    ]
