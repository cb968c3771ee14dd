"""A driver's `nvidia-smi` for machines without one: an executable that answers one query."""

import os
from collections.abc import Sequence
from pathlib import Path

QUERY = "--query-gpu=index,uuid,name,memory.total --format=csv,noheader"


def uuid(number: int) -> str:
    """The UUID of the GPU of this number, the first hexadecimal digit its own."""
    return f"GPU-{number:x}3b60f8e-2d1c-4c1a-9a57-0c0f7be1d5a{number:x}"


def row(number: int) -> str:
    """One line of the answer."""
    return f"{number}, {uuid(number)}, NVIDIA H200, 143771 MiB"


def nvidia_smi(folder: Path, rows: Sequence[str], status: int = 0) -> str:
    """Puts the executable into `folder`; returns a PATH that begins with it."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "nvidia-smi"
    answer = "\n".join(["cat <<'END'", *rows, "END"])
    script.write_text(
        f"#!/bin/sh\n"
        f'if [ "$*" != \'{QUERY}\' ]; then echo "not asked for: $*"; exit 2; fi\n'
        f"{answer}\nexit {status}\n"
    )
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
