import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from lorajobs.adapters.header import MAX_HEADER_BYTES, read_header
from lorajobs.errors import LoraInvalidFile, LoraPickle
from tests.lora_files import DEMO_LORAS, lora


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin: int, end: int, **fields: object) -> dict[str, object]:
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end], **fields}


@pytest.mark.parametrize("path", sorted(DEMO_LORAS.glob("*.safetensors")), ids=lambda p: p.stem)
def test_it_reads_what_the_library_reads(path: Path) -> None:
    header = read_header(path)
    with safe_open(path, "np") as file:
        shapes = {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()}  # noqa: SIM118
        dtypes = {k: file.get_slice(k).get_dtype() for k in shapes}
        assert header.metadata == (file.metadata() or {})
    assert {k: t.shape for k, t in header.tensors.items()} == shapes
    assert {k: t.dtype for k, t in header.tensors.items()} == dtypes


def test_scalars_empty_tensors_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {"alpha": np.array(4.0), "none": np.zeros((0, 4), np.float32), "w": np.ones((2, 3))}
    save_file(tensors, path, {"ss_network_dim": "4"})
    header = read_header(path)
    assert header.metadata == {"ss_network_dim": "4"}
    assert {k: t.shape for k, t in header.tensors.items()} == {
        "alpha": (),
        "none": (0, 4),
        "w": (2, 3),
    }


GOOD = {"a": tensor(0, 4)}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"abc", "not a safetensors file"),
        (b"\x00" * 64, "not a safetensors file"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"\n\n <html>" + b" " * 40, "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"\x1f\x8b" + b"0" * 40, "gzip"),
        (b'{"error": "no such file"}', "is JSON"),
        (raw(GOOD, b"1234")[:20], "truncated: it ends inside its header"),
        (raw(GOOD, b"123"), "truncated: 3 of 4 bytes"),
        (raw(GOOD, b"12345"), "1 bytes follow"),
        (raw({}), "no tensors"),
        (raw({"__metadata__": {"a": "b"}}), "no tensors"),
        (raw({"__metadata__": {"a": 1}, **GOOD}, b"1234"), "metadata"),
        (raw({"__metadata__": [], **GOOD}, b"1234"), "metadata"),
        (raw(b'{"a": '), "not a valid safetensors file"),
        (raw(b'{"a":' * 200_000), "not a valid safetensors file"),
        (raw(b"{" + b'"a": 1, "a": 2}'), "stands twice"),
        (raw({"a": 1}), "'a' is not described"),
        (raw({"a" * 513: tensor(0, 4)}, b"1234"), "a name of 513 letters"),
        (raw({"a": tensor(0, 4, dtype="Q4")}, b"1234"), "unknown dtype 'Q4'"),
        (raw({"a": tensor(0, 4, dtype=["U8"])}, b"1234"), "unknown dtype"),
        (raw({"a": tensor(0, 4, shape=[5])}, b"1234"), "do not fit its shape"),
        (raw({"a": tensor(0, 4, shape=[-4])}, b"1234"), "wrong shape"),
        (raw({"a": tensor(0, 4, shape=[True] * 4)}, b"1234"), "wrong shape"),
        (raw({"a": tensor(0, 4, shape=[1] * 17)}, b"1234"), "wrong shape"),
        (raw({"a": tensor(0, 4, shape=[2**64])}, b"1234"), "wrong shape"),
        (raw({"a": tensor(0, 4, data_offsets=[0])}, b"1234"), "wrong offsets"),
        (raw({"a": tensor(0, 4), "b": tensor(3, 6)}, b"123456"), "overlap or leave gaps"),
        (raw({"a": tensor(0, 4), "b": tensor(5, 6)}, b"123456"), "overlap or leave gaps"),
        (raw({"a": tensor(1, 4)}, b"1234"), "overlap or leave gaps"),
        (raw({str(i): tensor(0, 0) for i in range(20_001)}), "more than 20000 tensors"),
    ],
)
def test_what_is_no_adapter_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(LoraInvalidFile) as error:
        read_header(path, "my adapter")
    assert says in error.value.detail
    assert error.value.detail.startswith("my adapter")


def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{")
        file.truncate(MAX_HEADER_BYTES + 100)  # sparse
    with pytest.raises(LoraInvalidFile, match="larger than"):
        read_header(path)


def test_a_file_cut_at_any_place_is_refused(tmp_path: Path) -> None:
    data = lora()
    path = tmp_path / "x.safetensors"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(LoraInvalidFile):
            read_header(path)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_under_another_name_is_refused(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(pickle.dumps({"weights": list(range(99))}, protocol))
    with pytest.raises(LoraPickle, match=r"convert it to \.safetensors"):
        read_header(path)


def test_a_file_of_torch_save_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    with pytest.raises(LoraPickle):
        read_header(path)


def test_a_header_length_that_looks_like_a_pickle_is_none(tmp_path: Path) -> None:
    text = json.dumps(GOOD).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw(text.ljust(0x0280), b"1234"))
    assert path.read_bytes().startswith(b"\x80\x02")
    assert read_header(path).tensors["a"].shape == (4,)
