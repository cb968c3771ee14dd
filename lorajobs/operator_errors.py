"""What can go wrong with what operators ask, each error with a stable code.

LoraJobsError
├── WorkerNotFound                404 worker_not_found
└── WorkerSilent                  503 worker_silent, retryable
"""

from lorajobs.errors import LoraJobsError


class WorkerNotFound(LoraJobsError):
    """No worker of this name is alive."""

    code, title, status = "worker_not_found", "No such worker", 404


class WorkerSilent(LoraJobsError):
    """The worker is alive, but did not answer in time."""

    code, title, status, retryable = "worker_silent", "The worker did not answer", 503, True
