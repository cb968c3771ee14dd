"""Serves many LoRA adapters from a few diffusion base models through Celery queues."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorajobs.client import Client, JobEvent
    from lorajobs.client_errors import ClientError

__version__ = "0.1.0"
__all__ = ["Client", "ClientError", "JobEvent", "__version__"]

_HOMES = {
    "Client": "lorajobs.client",
    "ClientError": "lorajobs.client_errors",
    "JobEvent": "lorajobs.client",
}


def __getattr__(name: str) -> object:
    """The client's names, imported at their first use: workers and the API do without httpx."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
