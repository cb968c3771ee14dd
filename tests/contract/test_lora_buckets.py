"""Adapters in a real S3 bucket."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import SecretStr
from safetensors.numpy import save

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import MemoryLoraRegistry
from lorajobs.catalog import Catalog, LoraEntry
from lorajobs.errors import (
    LoraFetchFailed,
    LoraInvalidFile,
    LoraNotFound,
    LoraSeveralFiles,
    LoraTooLarge,
    UrlNotAllowed,
)
from lorajobs.lora_errors import LoraWrongFamily
from lorajobs.settings import Settings
from lorajobs.spec import Adapter
from lorajobs.storage.folder import FolderStore
from tests.lora_files import PEFT_CONFIG, fetched, lora, peft_folder
from tests.services.server import free_ports
from tests.services.weed import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

VERSIONED = "versioned-adapters"


@pytest.fixture(scope="module")
def client(s3: S3Server) -> Iterator["S3Client"]:
    made = s3.client()
    made.create_bucket(Bucket=VERSIONED)
    made.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"})
    yield made
    made.close()


class Place:
    """A library that may read the test's part of the buckets."""

    def __init__(self, s3: S3Server, client: "S3Client", folder: Path) -> None:
        self._s3 = s3
        self._client = client
        self._folder = folder
        #: below it lie the test's objects, in either bucket
        self.prefix = f"loras/{folder.name}"
        self.bucket = s3.bucket

    def put(self, key: str, data: bytes, bucket: str | None = None) -> str:
        """Stores an object as `aws s3 cp --checksum-algorithm SHA256` does; returns its URL."""
        name = f"{self.prefix}/{key}"
        self._client.put_object(
            Bucket=bucket or self.bucket, Key=name, Body=data, ChecksumAlgorithm="SHA256"
        )
        return f"s3://{bucket or self.bucket}/{name}"

    def delete(self, key: str, bucket: str) -> None:
        self._client.delete_object(Bucket=bucket, Key=f"{self.prefix}/{key}")

    def library(self, machine: str = "api", *loras: LoraEntry, **settings: Any) -> Library:
        values = {
            "data_dir": self._folder / machine,
            "s3_endpoint": self._s3.endpoint,
            "s3_access_key": self._s3.access_key,
            "s3_secret_key": SecretStr(self._s3.secret_key),
            "lora_s3": (f"{self.bucket}/{self.prefix}", f"{VERSIONED}/{self.prefix}/"),
            "lora_max_bytes": 1 << 20,
            "fetch_timeout_s": 5,
            **settings,
        }
        entries = {entry.id: entry.model_dump(exclude={"id"}) for entry in loras}
        catalog = Catalog.model_validate({"models": {"demo": {"path": "x"}}, "loras": entries})
        objects = FolderStore(self._folder / "objects", "http://127.0.0.1", 60)
        return Library(Settings.model_validate(values), catalog, MemoryLoraRegistry(), objects)

    def resolve(self, reference: str, weight_name: str | None = None, **settings: Any) -> Adapter:
        library = self.library(**settings)
        base = Catalog.model_validate({"models": {"demo": {"path": "x"}}}).models["demo"]
        return library.resolve(reference, base, weight_name)


@pytest.fixture
def place(s3: S3Server, client: "S3Client", tmp_path: Path) -> Place:
    return Place(s3, client, tmp_path)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_version_is_pinned_without_a_download(place: Place) -> None:
    url = place.put("x.safetensors", lora(1.0), VERSIONED)
    old = place.resolve(url)
    assert old.location == f"{url}?versionId={old.revision}"
    assert (old.sha256, old.bytes) == (sha256(lora(1.0)), len(lora()))
    place.put("x.safetensors", lora(2.0), VERSIONED)
    new = place.resolve(url)
    assert new.sha256 == sha256(lora(2.0))
    place.delete("x.safetensors", VERSIONED)
    worker = place.library("worker")
    assert fetched(worker, old) == lora(1.0)
    assert fetched(worker, new) == lora(2.0)
    with pytest.raises(LoraNotFound, match="does not exist"):
        place.resolve(url)


def test_a_versions_header_is_held_against_the_base_without_a_download(
    place: Place, tmp_path: Path
) -> None:
    flux = {
        "transformer.single_transformer_blocks.0.proj_out.lora_A.weight": np.ones((4, 15360)),
        "transformer.single_transformer_blocks.0.proj_out.lora_B.weight": np.ones((3072, 4)),
    }
    data = bytes(save({name: value.astype(np.float16) for name, value in flux.items()}))
    adapter = place.resolve(place.put("flux.safetensors", data, VERSIONED))
    library = place.library()
    base = tmp_path / "base"
    base.mkdir()
    (base / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    entry = Catalog.model_validate({"models": {"sdxl": {"path": base}}}).models["sdxl"]
    with pytest.raises(LoraWrongFamily, match=r"Flux\.1.*SDXL"):
        library.require_fit(adapter, entry)
    assert not library.keep(adapter.sha256)


def test_a_bucket_without_versions_is_kept_as_a_snapshot(place: Place) -> None:
    url = place.put("x.safetensors", lora(1.0))
    old = place.resolve(url)
    assert old.location == f"blob:{sha256(lora(1.0))}"
    place.put("x.safetensors", lora(2.0))
    assert place.resolve(url).sha256 == sha256(lora(2.0))
    assert fetched(place.library("worker"), old) == lora(1.0)


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_peft_folder(place: Place, slash: str) -> None:
    for name, data in peft_folder().items():
        url = place.put(f"peft/{name}", data)
    place.put("peft/checkpoint-1/other.safetensors", lora(3.0))
    adapter = place.resolve(url.rpartition("/")[0] + slash)
    assert adapter.peft_config == PEFT_CONFIG
    assert adapter.weight_name == "adapter_model.safetensors"


def test_one_of_several_files_is_named(place: Place) -> None:
    place.put("many/a.safetensors", lora(1.0))
    url = place.put("many/b.safetensors", lora(2.0)).rpartition("/")[0]
    with pytest.raises(LoraSeveralFiles, match=r"a\.safetensors, b\.safetensors"):
        place.resolve(url)
    assert place.resolve(url, "a.safetensors").sha256 == sha256(lora(1.0))


def test_what_lies_outside_the_setting_is_not_asked_for(place: Place) -> None:
    place.put("x.safetensors", lora())
    inside = f"{place.bucket}/{place.prefix}"
    for reference in (
        f"s3://{inside}-private/x.safetensors",
        f"s3://{place.bucket}/other/x.safetensors",
        f"s3://other-bucket/{place.prefix}/x.safetensors",
    ):
        with pytest.raises(UrlNotAllowed, match="LORAJOBS_LORA_S3"):
            place.resolve(reference)
    with pytest.raises(UrlNotAllowed, match="which is empty"):
        place.resolve(f"s3://{inside}/x.safetensors", lora_s3=())
    assert place.resolve(f"s3://{inside}/x.safetensors", lora_s3=(place.bucket,)).bytes


def test_the_operators_file_may_name_any_bucket(place: Place) -> None:
    url = place.put("x.safetensors", lora())
    entry = LoraEntry(id="x", source=url, base="demo")
    library = place.library("api", entry, lora_s3=())
    record = library.find("x")
    assert record is not None
    assert library.pin(record).sha256 == sha256(lora())


def test_what_is_no_adapter_is_refused(place: Place) -> None:
    with pytest.raises(LoraInvalidFile, match="web page"):
        place.resolve(place.put("x.safetensors", b"<html>"))
    url = place.put("large.safetensors", lora())
    with pytest.raises(LoraTooLarge):
        place.resolve(url, lora_max_bytes=100)
    url = place.put("large.safetensors", lora(), VERSIONED)
    with pytest.raises(LoraTooLarge):
        place.resolve(url, lora_max_bytes=100)


def test_what_is_missing_is_said(place: Place) -> None:
    with pytest.raises(LoraNotFound, match="does not exist"):
        place.resolve(f"s3://{place.bucket}/{place.prefix}/none.safetensors")
    with pytest.raises(LoraNotFound, match="it is empty"):
        place.resolve(f"s3://{place.bucket}/{place.prefix}/none")


def test_wrong_keys_are_said(place: Place) -> None:
    url = place.put("x.safetensors", lora())
    with pytest.raises(LoraNotFound, match="may not be read"):
        place.resolve(url, s3_secret_key=SecretStr("wrong"))


def test_a_server_that_is_down_may_come_back(place: Place) -> None:
    url = f"s3://{place.bucket}/{place.prefix}/x.safetensors"
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(LoraFetchFailed) as error:
        place.resolve(url, s3_endpoint=nobody, s3_retries=1)
    assert error.value.retryable
