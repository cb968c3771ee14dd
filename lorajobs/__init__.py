"""Serves many LoRA adapters from a few diffusion base models through Celery queues."""

from lorajobs.client import Client, ClientError, JobEvent

__version__ = "0.1.0"
__all__ = ["Client", "ClientError", "JobEvent", "__version__"]
