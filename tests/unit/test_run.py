"""What is made once is not made again: not for a ticket that came back, nor for an outage."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lorajobs.attempt import Bench
from lorajobs.bases import Bases
from lorajobs.ending import Ending
from lorajobs.engine.base import Generation, Picture
from lorajobs.engine.paint import PaintEngine
from lorajobs.errors import BadPicture, UploadFailed
from lorajobs.finisher import Finisher
from lorajobs.jobs import Lease
from lorajobs.report import AttemptReport
from lorajobs.run import run
from lorajobs.storage.folder import FolderStore
from tests.jobs import a_job, lease_of
from tests.shop import Shop

WAIT_S = 30.0


def test_what_ends_already_is_not_made_again(tmp_path: Path) -> None:
    shop, told = Shop(tmp_path), list[Lease]()
    job, may_end = a_job(), threading.Event()
    shop.store.submit(job, None)
    lease = lease_of(shop.store.claim("demo", job.id, "w1", "t1"))
    assert lease is not None

    def tell(of: Lease, _: AttemptReport, __: str) -> None:
        told.append(of)

    def end() -> None:
        assert may_end.wait(WAIT_S)

    finisher = Finisher(shop.store, depth=2, renew_s=0.5, patience_s=60)
    try:
        finisher.take(lease, end)
        bench = Bench(
            settings=shop.settings,
            store=shop.store,
            library=shop.library,
            bases=Bases(lambda _: shop.engine, shop.page.say_base),
            objects=shop.objects,
            page=shop.page,
            finisher=finisher,
            tell=tell,
        )
        assert run(bench, lease) is None
    finally:
        may_end.set()
        finisher.close()
    assert shop.store.get(job.id).stage is None
    assert told == []
    assert not finisher.has(lease)


class Away(FolderStore):
    """Takes nothing for a while."""

    refusals = 3
    on_refusal: Callable[[], None] = staticmethod(lambda: None)

    def put(self, key: str, data: bytes, content_type: str) -> None:
        if self.refusals:
            self.refusals -= 1
            self.on_refusal()
            raise UploadFailed("away")
        super().put(key, data, content_type)


def test_a_picture_outlives_an_outage_of_the_object_store(tmp_path: Path) -> None:
    shop, objects = Shop(tmp_path), Away(tmp_path / "away", "http://localhost", 60)
    job = a_job()
    assert shop.run(job, objects=objects) == (Ending.SUCCEEDED, "")
    assert objects.refusals == 0
    assert shop.store.get(job.id).attempt == 1


def test_a_worker_that_must_stop_waits_for_no_object_store(tmp_path: Path) -> None:
    shop, objects = Shop(tmp_path), Away(tmp_path / "away", "http://localhost", 60)
    objects.on_refusal = lambda: shop.page.ask_stop(0.0)
    assert shop.run(a_job(), objects=objects)[0] is Ending.REQUEUED
    assert objects.refusals == 2


def test_a_job_fails_by_a_picture_that_comes_broken(tmp_path: Path) -> None:
    class Breaking(PaintEngine):
        def generate(self, *asked: Any) -> Generation:
            made = super().generate(*asked)

            def develop() -> Sequence[Picture]:
                raise BadPicture("every pixel of the picture is the same")

            return Generation(develop, made.warnings)

    shop, engine, job = Shop(tmp_path), Breaking(), a_job()
    engine.load()
    assert shop.run(job, engine=engine)[0] is Ending.FAILED
    got = shop.store.get(job.id)
    assert got.error is not None
    assert got.error.code == "bad_picture"
    assert got.outputs == ()
