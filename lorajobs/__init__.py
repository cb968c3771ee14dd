"""Serves many LoRA adapters from a few diffusion base models through Celery queues."""

__version__ = "0.1.0"
__all__ = ["__version__"]
