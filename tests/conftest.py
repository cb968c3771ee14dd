"""Fixtures for all tests, and an environment that holds nobody's settings.

What is dear is shared: the servers below by the whole run, `running` by a file of e2e tests, and
the routes of the API by all of `tests/unit/web` (`api.application`). A slow file belongs into a
folder of `LONG`.
"""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything reads it: the hub's and boto3's variables count at import.
for _name in list(os.environ):
    if _name.startswith(("LORAJOBS_", "HF_", "AWS_")):
        del os.environ[_name]
# Nor do boto3's files or a cloud machine's own credentials count, nor a proxy for the loopback.
# Each HTTP client would read the world's authorities for 30 ms, and no test asks their hosts.
os.environ |= {
    "SSL_CERT_FILE": str(Path(__file__).with_name("services") / "nobody.pem"),
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}

# The same examples in every run; `pytest --hypothesis-profile=thorough` looks for more.
settings.register_profile("steady", deadline=None, derandomize=True, stateful_step_count=100)
settings.register_profile(
    "thorough", deadline=None, max_examples=2000, stateful_step_count=200, print_blob=True
)
settings.load_profile("steady")

from tests.services.valkey import valkey  # noqa: E402
from tests.services.weed import S3Server, weed  # noqa: E402

TESTS = Path(__file__).parent
#: Where a file may take a minute; begun last, it would leave the run's other processes idle.
LONG = ("e2e", "stateful", "engine", "bench")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders with long files first; else the order stays."""
    items.sort(key=_turn)


def pytest_collection_finish() -> None:
    """What was imported, torch among it, stays: no search for garbage looks at it again."""
    gc.collect()
    gc.freeze()


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(TESTS).parts[0]
    return LONG.index(folder) if folder in LONG else len(LONG)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey for the whole run; a test empties what it uses."""
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server for the whole run; a test works below a prefix of its own."""
    with weed(tmp_path_factory.mktemp("s3")) as server:
        yield server
