"""Compiled code outlives its process; a file that is not right is as good as none.

A product of matrices alone: its code calls a library, so that no C++ compiler is needed.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor.utils import fresh_cache
from torch.compiler._cache import CacheArtifactManager

from lorajobs.engine import compiled
from lorajobs.engine.compiled import MOST_BYTES, CompiledCode, compiled_code, folder_of
from lorajobs.engine.pipeline import DiffusersEngine
from tests.jobs import a_spec

CPU = torch.device("cpu")
#: The compiler's own, of some versions.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a process leaves that has compiled a product for 8 rows, then for 4."""
    folder = tmp_path_factory.mktemp("compiled")
    with another_process():
        code = CompiledCode(folder)
        assert not code.keep()
        compile_for(8)
        assert code.keep()
        (first,) = folder.iterdir()
        assert not code.keep()
        compile_for(4)
        assert code.keep()
    assert len([*folder.iterdir()]) == 2
    assert first.exists()
    return folder


@pytest.fixture
def bundle(kept: Path) -> bytes:
    """One of its files."""
    return min(kept.iterdir(), key=lambda file: file.stat().st_mtime_ns).read_bytes()


@contextmanager
def another_process() -> Iterator[None]:
    """As if nothing had been compiled or found: torch's own cache is empty and elsewhere."""
    torch._dynamo.reset()
    counters.clear()
    with fresh_cache(), CacheArtifactManager.with_fresh_cache():
        yield


def compile_for(rows: int) -> int:
    """Compiles a product; the number of graphs that were found and not made."""
    before = counters["aot_autograd"]["autograd_cache_hit"]
    product = torch.compile(lambda x: x @ x, fullgraph=True, dynamic=False)
    x = torch.randn(rows, rows)
    assert torch.equal(product(x), x @ x)
    return int(counters["aot_autograd"]["autograd_cache_hit"] - before)


@pytest.mark.usefixtures("kept")
def test_without_a_file_everything_is_compiled(tmp_path: Path) -> None:
    with another_process():
        assert CompiledCode(tmp_path / "none").load() == 0
        assert compile_for(8) == 0


def test_the_next_process_compiles_nothing_again(kept: Path) -> None:
    before = sorted(kept.iterdir())
    with another_process():
        code = CompiledCode(kept)
        # A graph and the code around it, for each size.
        assert code.load() == 4
        assert (compile_for(8), compile_for(4)) == (1, 1)
        # Nothing that the file does not have.
        assert not code.keep()
    assert sorted(kept.iterdir()) == before


def test_what_a_process_was_given_is_kept_with_what_it_adds(tmp_path: Path, bundle: bytes) -> None:
    (tmp_path / "one.bin").write_bytes(bundle)
    with another_process():
        code = CompiledCode(tmp_path)
        assert code.load() == 2
        assert (compile_for(8), compile_for(2)) == (1, 0)
        assert code.keep()
    (tmp_path / "one.bin").unlink()
    with another_process():
        assert CompiledCode(tmp_path).load() == 4
        assert (compile_for(8), compile_for(2)) == (1, 1)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: b"x"])
def test_a_damaged_file_is_ignored_with_a_warning(
    tmp_path: Path, bundle: bytes, damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(damage)
    (tmp_path / "one.bin").write_bytes(damage(bundle))
    with another_process():
        code = CompiledCode(tmp_path)
        assert code.load() == 0
        assert "one.bin is damaged" in caplog.text
        assert compile_for(8) == 0
        assert code.keep()
    assert len([*tmp_path.glob("*.bin")]) == 2
    assert not [*tmp_path.glob("*.new")]


def test_a_disk_that_takes_nothing_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    with another_process():
        code = CompiledCode(tmp_path / "file" / "base")
        assert code.load() == 0
        compile_for(8)
        assert not code.keep()
    assert "compiled code is not kept" in caplog.text


def test_only_the_newest_files_stay(tmp_path: Path) -> None:
    for name in ("large", "small"):
        (tmp_path / f"{name}.bin").touch()
    # No block of it is written.
    os.truncate(tmp_path / "large.bin", MOST_BYTES)
    for age, name in enumerate(("small", "large")):
        os.utime(tmp_path / f"{name}.bin", (1 + age, 1 + age))
    with another_process():
        code = CompiledCode(tmp_path)
        compile_for(8)
        assert code.keep()
    (left,) = tmp_path.iterdir()
    assert left.name not in ("large.bin", "small.bin")


def test_each_torch_device_and_base_has_its_own_folder(tmp_path: Path) -> None:
    key = ("2.11.0+cu130", "NVIDIA H200", "sd/xl 1.0")
    folder = folder_of(tmp_path, *key)
    assert folder.parent == tmp_path / "compiled"
    assert folder.name.startswith("2.11.0-cu130-NVIDIA-H200-sd-xl-1.0-")
    others = [folder_of(tmp_path, *key[:n], "x", *key[n + 1 :]) for n in range(3)]
    likely_the_same_words = folder_of(tmp_path, *key[:2], "sd-xl 1.0")
    assert len({folder, likely_the_same_words, *others}) == 5


def test_an_engine_asks_after_each_job_whether_there_is_anything_to_keep(
    engine: DiffusersEngine, tmp_path: Path
) -> None:
    asked: list[int] = []

    class Asked(CompiledCode):
        def keep(self) -> bool:
            asked.append(1)
            return super().keep()

    engine._code = Asked(tmp_path)
    try:
        engine.generate(a_spec(width=64, height=64, num_inference_steps=1), lambda _: None)
    finally:
        engine._code = None
    # Nothing was compiled.
    assert (len(asked), [*tmp_path.iterdir()]) == (1, [])


def test_a_torch_that_cannot_keep_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert compiled_code(tmp_path, CPU, "sdxl") is not None
    # As torch 2.6 is.
    monkeypatch.delattr(torch.compiler, "save_cache_artifacts")
    with caplog.at_level(logging.WARNING, compiled.__name__):
        assert compiled_code(tmp_path, CPU, "sdxl") is None
    assert "torch 2." in caplog.text
