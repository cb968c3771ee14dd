"""An attempt whose ticket comes back while the finisher ends it is not made a second time."""

import threading
from pathlib import Path

from lorajobs.attempt import Bench
from lorajobs.bases import Bases
from lorajobs.finisher import Finisher
from lorajobs.jobs import Lease
from lorajobs.report import AttemptReport
from lorajobs.run import run
from tests.jobs import a_job, lease_of
from tests.unit.test_attempt import Shop

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
