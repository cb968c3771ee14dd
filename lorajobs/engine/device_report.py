"""What PyTorch can do here, as a JSON object: `python -m lorajobs.engine.device_report`.

A process of its own for the doctor, which itself never imports torch: what a broken driver does to
it ends with it.
"""

import importlib.metadata
import json
from typing import Any

import torch


def report() -> dict[str, Any]:
    """Versions, the devices, and whether each really computes."""
    cuda = torch.cuda.is_available()
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "mps": torch.backends.mps.is_available(),
        "triton": _version("triton"),
        "gpus": [_gpu(number) for number in range(torch.cuda.device_count())] if cuda else [],
    }


def _gpu(number: int) -> dict[str, Any]:
    told: dict[str, Any] = {"name": torch.cuda.get_device_name(number)}
    try:
        free, total = torch.cuda.mem_get_info(number)
        told |= {"free": free, "total": total}
        # Exact in any precision, so that a wrong sum is a fault.
        ones = torch.ones(256, 256, device=f"cuda:{number}", dtype=torch.float16)
        told["computes"] = bool(((ones @ ones) == 256).all())
    except RuntimeError as error:
        told |= {"computes": False, "error": str(error).partition("\n")[0]}
    return told


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    print(json.dumps(report()))
