"""What must start without torch does."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "transformers", "peft")


@pytest.mark.parametrize(
    "module", ["lorajobs.engine.base", "lorajobs.engine.paint", "lorajobs.pictures"]
)
def test_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
