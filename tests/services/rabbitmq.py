"""A real RabbitMQ on free ports, from Debian's package `rabbitmq-server`."""

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kombu import Connection

from tests.services.server import HOST, free_ports, running

#: The package's own wrapper insists on the user `rabbitmq`; this is the server behind it.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
DEADLINE_S = 90.0
#: How often a quorum queue gives out a message before it drops it: what RabbitMQ 4 comes with;
#: 3 has no limit of its own.
DELIVERY_LIMIT = 20
USER = "guest"


class RabbitMQ:
    """A broker that keeps everything in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._distribution, self._epmd = free_ports(3)
        self._server = ExitStack()
        self.url = f"amqp://{USER}:{USER}@{HOST}:{self._port}//"

    def start(self) -> None:
        """Starts the server, with what it had on its disk.

        Raises: RuntimeError.
        """
        folder, env = self._folder, self._environment()
        self._server.enter_context(
            running([str(SERVER)], folder, self._answers, deadline_s=DEADLINE_S, env=env)
        )

    def _answers(self, _: int) -> bool:
        # That somebody listens is not enough: that may still be the one that was killed.
        connection = Connection(self.url, connect_timeout=1)
        try:
            with connection:
                connection.connect()
        except connection.connection_errors:
            return False
        return True

    def kill(self) -> None:
        """Kills the server, without a word."""
        self._server.close()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Keeps the server from doing anything; its connections stay."""
        pid = int((self._folder / "pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Runs the daemon where the server registers its name."""
        # Ours and in the foreground: one that the node starts would outlive it.
        argv = ["/usr/bin/epmd", "-address", HOST, "-port", str(self._epmd)]
        folder = self._folder / "epmd"
        folder.mkdir()

        def ready(_: int) -> bool:
            return _listens(self._epmd)

        with running(argv, folder, ready, deadline_s=DEADLINE_S):
            yield

    def configure(self) -> None:
        """Writes what the server reads at its start."""
        definitions = self._folder / "definitions.json"
        definitions.write_text(json.dumps(_definitions()))
        (self._folder / "plugins").write_text("[].\n")
        (self._folder / "rabbitmq.conf").write_text(
            # It refuses to publish below this much free disk; a test needs next to none.
            "disk_free_limit.absolute = 50MB\nloopback_users = none\n"
            f"load_definitions = {definitions}\n"
        )

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        return {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": f"lorajobs-{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }


@contextmanager
def rabbitmq(folder: Path) -> Iterator[RabbitMQ]:
    """Runs a broker, which is killed at the end.

    Raises: RuntimeError.
    """
    if not SERVER.exists() or shutil.which("erl") is None:
        raise RuntimeError("RabbitMQ is not installed: make test-system installs it")
    broker = RabbitMQ(folder)
    broker.configure()
    with broker.named():
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()


def _definitions() -> dict[str, object]:
    """The one user, with all rights, and the limit; a server with these makes no user itself."""
    salt = b"salt"
    hashed = base64.b64encode(salt + hashlib.sha256(salt + USER.encode()).digest()).decode()
    where = {"vhost": "/"}
    every = dict.fromkeys(("configure", "write", "read"), ".*")
    queues = {"pattern": "^base\\.", "apply-to": "queues"}
    limit = {**queues, "definition": {"delivery-limit": DELIVERY_LIMIT}, "priority": 0}
    return {
        "vhosts": [{"name": "/"}],
        "users": [
            {
                "name": USER,
                "password_hash": hashed,
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "administrator",
            }
        ],
        "permissions": [{**where, **every, "user": USER}],
        "policies": [{**where, **limit, "name": "limit"}],
    }


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
