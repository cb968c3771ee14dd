"""A worker on a new machine with the old data folder compiles nothing again."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

#: Makes a picture with compiled blocks; prints what the compiler found and did not find.
_WORKER = """
import hashlib, json, sys, time
from pathlib import Path
from torch._dynamo.utils import counters
from lorajobs.catalog import Catalog
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.settings import Settings
from tests.engine.adapters import demo
from tests.jobs import a_spec

entry = Catalog.load(None).models["demo"].model_copy(update={"speed": "regional"})
engine = DiffusersEngine(entry, Settings(device="cuda", data_dir=Path(sys.argv[1])))
engine.load()
engine.apply([demo("pixel")])
begun = time.monotonic()
spec = a_spec(width=64, height=64, num_inference_steps=3)
image = engine.generate(spec, lambda step: None).pictures[0].image
found = counters["aot_autograd"]
print(json.dumps({
    "hits": found["autograd_cache_hit"], "misses": found["autograd_cache_miss"],
    "s": time.monotonic() - begun, "picture": hashlib.sha256(image.tobytes()).hexdigest(),
}))
"""


def worker(data_dir: Path, torchs_own: Path) -> dict[str, Any]:
    """What a process says whose compiler has this cache of its own."""
    env = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(torchs_own)}
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, str(data_dir)],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_the_next_machine_finds_what_was_compiled(tmp_path: Path) -> None:
    first = worker(tmp_path / "data", tmp_path / "one")
    assert first["misses"] > 0
    (folder,) = (tmp_path / "data" / "compiled").iterdir()
    kept = sorted(folder.iterdir())
    assert kept
    second = worker(tmp_path / "data", tmp_path / "other")
    print(f"first picture: {first['s']:.1f} s, then {second['s']:.1f} s")
    assert (second["hits"], second["misses"]) == (first["hits"] + first["misses"], 0)
    assert second["picture"] == first["picture"]
    assert sorted(folder.iterdir()) == kept
