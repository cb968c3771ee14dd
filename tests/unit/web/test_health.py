"""`/healthz` and `/readyz`."""

from collections.abc import Mapping

from lorajobs.errors import StoreUnavailable
from lorajobs.storage.folder import FolderStore
from lorajobs.testing import MemoryJobStore
from tests.shelf import PUBLIC_URL, Shelf
from tests.unit.web.api import Api, problem_of


class DownStore(MemoryJobStore):
    """A store whose server does not answer."""

    def backlog(self) -> Mapping[str, int]:
        raise StoreUnavailable("Redis does not answer")


class DownObjects(FolderStore):
    """A storage that does not answer."""

    def exists(self, key: str) -> bool:
        raise TimeoutError("the bucket does not answer")


def test_a_ready_api(api: Api) -> None:
    answer = api.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json() == {"status": "ok", "checks": {"store": "ok", "storage": "ok"}}


def test_a_store_that_is_down_is_named(shelf: Shelf) -> None:
    answer = Api(shelf, fleet=DownStore()).client.get("/readyz")
    document = problem_of(answer, 503, "not_ready")
    assert document["checks"] == {"store": "Redis does not answer", "storage": "ok"}
    assert document["detail"] == "store: Redis does not answer"


def test_a_storage_that_is_down_is_named(shelf: Shelf) -> None:
    objects = DownObjects(shelf.settings.data_dir / "down", PUBLIC_URL, 60)
    answer = Api(shelf, objects=objects).client.get("/readyz")
    document = problem_of(answer, 503, "not_ready")
    assert document["checks"] == {"store": "ok", "storage": "the bucket does not answer"}


def test_the_process_lives_whatever_is_down(shelf: Shelf) -> None:
    answer = Api(shelf, fleet=DownStore()).client.get("/healthz")
    assert (answer.status_code, answer.get_json()) == (200, {"status": "ok"})
