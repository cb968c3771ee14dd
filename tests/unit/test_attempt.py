"""One attempt from claim to end, with a painting engine, a memory store and a real folder store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorajobs.adapters.label import Label
from lorajobs.ending import Ending
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.paint import PaintEngine
from lorajobs.errors import StoreUnavailable, UploadFailed
from lorajobs.jobs import AppliedLora, Job, JobStatus, Lease, Outcome, Stage
from lorajobs.pictures import read_text
from lorajobs.spec import SourceImage
from lorajobs.storage.folder import FolderStore
from lorajobs.store import Progress, Signal
from lorajobs.testing import MemoryJobStore
from tests.images import decoded, encoded
from tests.jobs import a_job, a_spec, an_adapter, lease_of, use
from tests.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_job_succeeds_with_pictures_that_say_how_they_were_made(
    shop: Shop, tmp_path: Path
) -> None:
    job = a_job(loras=(shop.pinned("pixel", 0.9),), num_images=2)
    assert shop.run(job) == (Ending.SUCCEEDED, "")
    got = shop.store.get(job.id)
    assert [o.seed for o in got.outputs] == [7, 8]
    assert [(a.id, a.scale) for a in got.applied_loras] == [("pixel", 0.9)]
    assert got.metrics.swapped is True
    assert {"queue_s", "fetch_s", "swap_s", "generate_s", "upload_s"} <= {
        name for name, value in got.metrics if value is not None
    }
    target = tmp_path / "picture.png"
    shop.objects.fetch(got.pictures[1].key, target, 10**6)
    text = read_text(target.read_bytes())
    assert (text["prompt"], text["seed"]) == ("a red heart", "8")
    assert "pixel" in str(text)
    assert [lora.id for lora in shop.page.loaded()] == ["pixel"]


def test_a_job_starts_from_the_picture_beside_it(shop: Shop, tmp_path: Path) -> None:
    image = SourceImage(reference="x", sha256="f" * 64, width=1, height=1, steps=2)
    fields: dict[str, Any] = {"width": 96, "height": 64, "image": image, "strength": 0.25}
    painted = []
    for number, color in enumerate(("white", "black")):
        job = a_job(**fields)
        source = encoded(Image.new("RGB", (96, 64), color))
        shop.objects.put(job.source_key, source, "image/png")
        assert shop.run(job, ticket=f"t{number}") == (Ending.SUCCEEDED, "")
        got = shop.store.get(job.id)
        assert (got.step, got.steps) == (2, 2)
        target = tmp_path / "picture.png"
        shop.objects.fetch(got.pictures[0].key, target, 10**6)
        painted.append(np.asarray(decoded(target.read_bytes()), np.int16))
        assert read_text(target.read_bytes())["image_sha256"] == "f" * 64
    # Three quarters of it are left.
    assert abs(painted[0] - painted[1] - 191).max() <= 1


def test_a_job_whose_picture_is_gone_fails_and_says_so(shop: Shop) -> None:
    image = SourceImage(reference="x", sha256="f" * 64, width=1, height=1, steps=2)
    job = a_job(image=image, strength=0.5)
    ending, reason = shop.run(job)
    assert (ending, reason.split(":")[0]) == (Ending.FAILED, "source_lost")
    error = shop.store.get(job.id).error
    assert error
    assert (error.code, error.retryable) == ("source_lost", False)


def test_pictures_say_nothing_if_the_operator_opts_out(shop: Shop, tmp_path: Path) -> None:
    silent = shop.settings.model_copy(update={"picture_metadata": False})
    job = a_job()
    assert shop.run(job, settings=silent)[0] is Ending.SUCCEEDED
    target = tmp_path / "picture.png"
    shop.objects.fetch(shop.store.get(job.id).pictures[0].key, target, 10**6)
    assert read_text(target.read_bytes()) == {}


def test_only_a_change_of_adapters_is_a_swap(shop: Shop) -> None:
    pixel = shop.pinned("pixel")
    for number, (loras, swapped) in enumerate(
        [((pixel,), True), ((pixel,), False), ((), True), ((), False)]
    ):
        job = a_job(loras=loras)
        shop.run(job, ticket=f"t{number}")
        assert shop.store.get(job.id).metrics.swapped is swapped


def test_a_job_says_where_its_adapters_were(shop: Shop) -> None:
    pixel, line = shop.pinned("pixel"), shop.pinned("lineart")
    # What is pinned here was copied to this machine's disk.
    (shop.settings.data_dir / "adapters" / f"{line.adapter.sha256}.safetensors").unlink()
    told = []
    for number, loras in enumerate([(pixel, line), (line, pixel), (pixel,), ()]):
        job = a_job(loras=loras)
        shop.run(job, ticket=f"t{number}")
        told.append(shop.store.get(job.id).metrics.tiers)
    assert told == [{"disk": 1, "remote": 1}, {"applied": 2}, {"disk": 1}, None]


def test_an_adapter_stays_on_the_disk_until_the_engine_has_read_it(shop: Shop) -> None:
    seen: list[bool] = []
    locks = shop.settings.data_dir / "adapters" / "locks"

    class Watching(PaintEngine):
        def apply(self, adapters: Sequence[LocalAdapter]) -> Sequence[AppliedLora]:
            seen.extend(Label.seize(locks / a.use.adapter.sha256) is None for a in adapters)
            return super().apply(adapters)

    engine = Watching()
    engine.load()
    pixel = shop.pinned("pixel")
    assert shop.run(a_job(loras=(pixel,)), engine=engine)[0] is Ending.SUCCEEDED
    assert seen == [True]
    label = Label.seize(locks / pixel.adapter.sha256)
    assert label is not None
    label.release()


def test_a_cancellation_read_from_memory_stops_at_the_next_step(shop: Shop) -> None:
    job = a_job(webhook=None, num_inference_steps=50)
    shop.page.ask_cancel(Lease(job.id, 1))
    assert shop.run(job)[0] is Ending.CANCELED
    assert shop.store.get(job.id).status is JobStatus.CANCELED
    other = a_job()
    assert shop.run(other, ticket="t2")[0] is Ending.SUCCEEDED


def test_a_cancellation_told_by_the_store_stops_too(shop: Shop) -> None:
    job = a_job()
    shop.store.submit(job, None)
    lease = lease_of(shop.store.claim("demo", job.id, "w1", "t1"))
    assert lease is not None
    shop.store.cancel(job.id)
    assert shop.attempt(lease)[0] is Ending.CANCELED


def test_a_worker_that_must_stop_hands_its_job_back_without_an_attempt(shop: Shop) -> None:
    shop.page.ask_stop(0)
    job = a_job(num_inference_steps=50)
    for number in range(5):
        shop.store.submit(job, None)
        lease = lease_of(shop.store.claim("demo", job.id, "w1", f"t{number}"))
        assert lease == Lease(job.id, number + 1)
        assert shop.attempt(lease)[0] is Ending.HANDED_BACK
        assert shop.store.get(job.id).status is JobStatus.QUEUED


def test_an_attempt_that_lost_its_lease_writes_nothing(shop: Shop) -> None:
    job = a_job()
    shop.store.submit(job, None)
    lease = lease_of(shop.store.claim("demo", job.id, "w1", "t1"))
    assert lease is not None
    shop.clock.advance(10)
    shop.store.rescue()
    assert lease_of(shop.store.claim("demo", job.id, "w2", "t2")) == Lease(job.id, 2)
    assert shop.attempt(lease)[0] is Ending.LOST
    assert shop.store.get(job.id).status is JobStatus.RUNNING


@pytest.mark.parametrize("code", ["bad_picture", "internal"])
def test_a_final_error_fails_the_job(shop: Shop, code: str) -> None:
    job = a_job(prompt=f"fail:{code}")
    ending, reason = shop.run(job)
    assert ending is Ending.FAILED
    assert reason.startswith(code)
    got = shop.store.get(job.id)
    assert got.error is not None
    assert (got.error.code, got.attempt, got.outputs) == (code, 1, ())


def test_a_retryable_error_puts_the_job_back_until_its_attempts_are_used(shop: Shop) -> None:
    job = a_job(prompt="fail:oom")
    endings = []
    for number in range(3):
        endings.append(shop.run(job, ticket=f"t{number}")[0])
        shop.clock.advance(61)
        shop.store.rescue()
    assert endings == [Ending.REQUEUED, Ending.REQUEUED, Ending.FAILED]
    got = shop.store.get(job.id)
    assert got.error is not None
    assert (got.error.code, got.error.retryable) == ("oom", True)


def test_an_adapter_that_cannot_be_fetched_costs_no_step(shop: Shop) -> None:
    job = a_job(loras=(use("gone"),))
    ending, reason = shop.run(job)
    assert ending in (Ending.REQUEUED, Ending.FAILED)
    assert reason.startswith("lora_")
    assert shop.store.get(job.id).step == 0
    assert shop.engine.applied() == ()


def test_a_memory_error_becomes_ours(shop: Shop) -> None:
    class Hungry(PaintEngine):
        def apply(self, adapters: Sequence[LocalAdapter]) -> Sequence[AppliedLora]:
            raise MemoryError("cannot allocate")

    ending, reason = shop.run(a_job(), engine=Hungry())
    assert (ending, reason.split(":")[0]) == (Ending.REQUEUED, "oom")


def test_an_unexpected_error_fails_the_job_and_says_which(shop: Shop) -> None:
    class Broken(PaintEngine):
        def apply(self, adapters: Sequence[LocalAdapter]) -> Sequence[AppliedLora]:
            raise ZeroDivisionError("surprise")

    ending, reason = shop.run(a_job(), engine=Broken())
    assert (ending, reason) == (Ending.FAILED, "internal: ZeroDivisionError: surprise")


def test_a_failed_upload_leaves_nothing_behind(shop: Shop, tmp_path: Path) -> None:
    class Full(FolderStore):
        def put(self, key: str, data: bytes, content_type: str) -> None:
            if key.endswith("1.png"):
                raise UploadFailed("disk full")
            super().put(key, data, content_type)

    objects = Full(tmp_path / "full", "http://localhost", 60)
    job = a_job(num_images=2)
    assert shop.run(job, objects=objects, upload_patience_s=0.0)[0] is Ending.REQUEUED
    assert not objects.exists(f"jobs/{job.id}/1/0.png")


def test_the_time_limit_is_kept_at_a_step(shop: Shop) -> None:
    brief = shop.settings.model_copy(update={"max_runtime_s": 0.0})
    ending, reason = shop.run(a_job(), settings=brief)
    assert (ending, reason.split(":")[0]) == (Ending.FAILED, "time_limit")


def test_progress_may_be_lost_but_not_the_end(shop: Shop) -> None:
    class Flaky(MemoryJobStore):
        refusals = 2
        looks = 2

        def get(self, job_id: str) -> Job:
            if self.looks:
                self.looks -= 1
                raise StoreUnavailable("down")
            return super().get(job_id)

        def renew(self, lease: Lease, progress: Progress | None = None) -> Signal:
            raise StoreUnavailable("down")

        def finish(self, lease: Lease, outcome: Outcome) -> bool:
            if self.refusals:
                self.refusals -= 1
                raise StoreUnavailable("down")
            return super().finish(lease, outcome)

    flaky = Flaky()
    shop.store = flaky
    job = a_job()
    assert shop.run(job)[0] is Ending.SUCCEEDED
    assert flaky.get(job.id).status is JobStatus.SUCCEEDED


def test_stages_are_told_in_order(shop: Shop) -> None:
    told: list[Progress] = []

    class Listening(MemoryJobStore):
        def renew(self, lease: Lease, progress: Progress | None = None) -> Signal:
            if progress:
                told.append(progress)
            return super().renew(lease, progress)

    shop.store = Listening()
    shop.run(a_job())
    stages = list(dict.fromkeys(p.stage for p in told))
    assert stages == [Stage.LOADING_ADAPTER, Stage.DENOISING, Stage.DECODING, Stage.UPLOADING]
    begun = {stage: next(p.step for p in told if p.stage is stage) for stage in stages}
    assert list(begun.values()) == [0, 0, 4, 4]
    assert told[-1].step == told[-1].steps == 4


def test_specs_of_tests_are_valid() -> None:
    assert a_spec().model == "demo"
    assert an_adapter("x").sha256 != an_adapter("y").sha256
