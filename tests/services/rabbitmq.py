"""A real RabbitMQ on free ports, from Debian's package `rabbitmq-server`."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.server import HOST, free_ports, running

#: The package's own wrapper insists on the user `rabbitmq`; this is the server behind it.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
DEADLINE_S = 90.0


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """Runs a broker that keeps everything in `folder`; yields its URL.

    Raises: RuntimeError.
    """
    if not SERVER.exists() or shutil.which("erl") is None:
        raise RuntimeError("RabbitMQ is not installed: make test-system installs it")
    port, distribution, epmd = free_ports(3)
    env = _environment(folder, port, distribution, epmd)
    (folder / "plugins").write_text("[].\n")
    (folder / "rabbitmq.conf").write_text(
        # It refuses to publish below this much free disk; a test needs next to none.
        "disk_free_limit.absolute = 50MB\nloopback_users = none\n"
    )

    def ready(_: int) -> bool:
        return _listens(port)

    # Ours and in the foreground: one that the node starts would outlive it.
    names = ["/usr/bin/epmd", "-address", HOST, "-port", str(epmd)]
    names_folder = folder / "epmd"
    names_folder.mkdir()

    def names_ready(_: int) -> bool:
        return _listens(epmd)

    with (
        running(names, names_folder, names_ready, deadline_s=DEADLINE_S),
        running([str(SERVER)], folder, ready, deadline_s=DEADLINE_S, env=env),
    ):
        yield f"amqp://guest:guest@{HOST}:{port}//"


def _environment(folder: Path, port: int, distribution: int, epmd: int) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_NODENAME": f"lorajobs-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
