"""The command line of every process of the system, the same alone and in a supervised group."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import lorajobs
from lorajobs.client import Client
from lorajobs.client_errors import ClientError
from lorajobs.embedded.valkey import EmbeddedValkey
from lorajobs.errors import ConfigError, StoreUnavailable
from lorajobs.loopback import is_loopback
from lorajobs.processes.child import Program
from lorajobs.processes.gpus import Gpu
from lorajobs.settings import Settings
from lorajobs.store import Workers

#: Where `web` and `lorajobs` were installed.
_PACKAGES = Path(lorajobs.__file__).parent.parent
#: Seconds for what a worker does after its child's end: the job and its ticket go back.
HAND_BACK_S = 10.0


def valkey(server: EmbeddedValkey, settings: Settings) -> Program:
    """The embedded Valkey."""
    return Program(
        "valkey", server.argv(), settings.environ(), server.ready, keep_fds=(server.lock_fd,)
    )


def api(settings: Settings) -> Program:
    """The HTTP API under gunicorn; its access log is off, GUNICORN_CMD_ARGS can turn it on."""
    options = {
        "bind": address(settings.api_host, settings.api_port),
        "workers": str(settings.api_workers),
        "threads": str(settings.api_threads + settings.api_listeners),
        "worker-class": "web.gunicorn_worker.Worker",
        "logger-class": "web.gunicorn_log.Log",
        "log-level": settings.log_level.lower(),
        # gunicorn puts this folder first on the path; the caller's may hold a `web` of its own.
        "chdir": str(_PACKAGES),
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    argv = [sys.executable, "-m", "gunicorn", *words, "--no-control-socket", "web:create_app()"]
    return Program("api", argv, settings.environ(), _answers(settings), grace_s=35)


def worker(settings: Settings, models: Sequence[str], gpu: Gpu | None = None) -> Program:
    """A worker of these bases, on the GPU that its settings name; ready once its first is warm."""

    @cache
    def store() -> Workers:
        # Only who starts workers loads Redis's driver.
        from lorajobs.redis_store import open_job_store

        return open_job_store(settings)

    def warm() -> bool:
        # The API would ask for a key.
        with suppress(StoreUnavailable):
            live = store().workers()
            return any(w.model == models[0] and w.state == "warm" for w in live)
        return False

    bases = "+".join(models)
    name = f"worker.{bases}" if gpu is None else f"worker.{bases}.gpu{gpu.number}"
    argv = [sys.executable, "-m", "lorajobs", "worker"]
    for model in models:
        argv += ["--model", model]
    # After the grace its child has one step's time to stop before it is killed.
    ends_s = settings.shutdown_grace_s + settings.step_timeout_s + HAND_BACK_S
    return Program(name, argv, settings.environ(), warm, grace_s=ends_s)


def courier(settings: Settings) -> Program:
    """The courier: webhooks, rescue of lost jobs, minting of tickets."""
    argv = [sys.executable, "-m", "lorajobs", "courier"]
    return Program("courier", argv, settings.environ(), grace_s=settings.webhook_timeout_s + 5)


def flower(settings: Settings) -> Program:
    """Flower on the same broker.

    Raises: ConfigError if it is not installed, or would be open to other machines.
    """
    if find_spec("flower") is None:
        raise ConfigError("Flower is not installed: pip install 'lorajobs[flower]'")
    environment: Mapping[str, str] = settings.environ()
    if settings.flower_auth:
        # By variable, because every user of the machine can read a command line.
        secret = settings.flower_auth.get_secret_value()
        environment = {**environment, "FLOWER_BASIC_AUTH": secret}
    elif not is_loopback(settings.flower_host):
        raise ConfigError(
            f"LORAJOBS_FLOWER_HOST={settings.flower_host} lets other machines in: "
            "set LORAJOBS_FLOWER_AUTH=user:password"
        )
    argv = [sys.executable, "-m", "celery", "-A", "lorajobs", "flower"]
    argv += [f"--address={settings.flower_host}", f"--port={settings.flower_port}"]
    return Program("flower", argv, environment)


def metered(found: Sequence[Program], settings: Settings) -> Sequence[Program]:
    """The same with a port for each one's metrics, from `metrics_port` on; with none if unset."""
    first = settings.metrics_port
    if first is None:
        return found
    return [
        program._replace(env={**program.env, "LORAJOBS_METRICS_PORT": str(first + number)})
        for number, program in enumerate(found)
    ]


def need_worker_packages() -> None:
    """Raises: ConfigError naming the command that installs what a worker needs."""
    for package in ("torch", "diffusers", "transformers", "peft"):
        if find_spec(package) is None:
            raise ConfigError(
                f"generating needs the package {package}: pip install 'lorajobs[worker]'"
            )


def address(host: str, port: int) -> str:
    """Both as one word of a URL or an option."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _answers(settings: Settings) -> Callable[[], bool]:
    def ready() -> bool:
        with suppress(ClientError), Client(settings.api_url, timeout_s=1) as client:
            return client.ready()
        return False

    return ready
