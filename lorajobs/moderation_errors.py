"""What the checkers of prompts and pictures come to, each with a stable code.

LoraJobsError
├── PromptBlocked                 422 prompt_blocked
├── PromptCheckFailed             503 prompt_check_failed, retryable
└── AttemptError
    ├── NsfwBlocked               nsfw_blocked
    └── PictureCheckFailed        picture_check_failed, retryable
"""

from lorajobs.errors import AttemptError, LoraJobsError, RequestError


class PromptBlocked(RequestError):
    """The prompt checker does not allow the prompt."""

    code, title = "prompt_blocked", "The prompt is not allowed"


class PromptCheckFailed(LoraJobsError):
    """The prompt checker gave no verdict, so nothing was accepted."""

    code, title = "prompt_check_failed", "The prompt could not be checked"
    status, retryable = 503, True


class NsfwBlocked(AttemptError):
    """The image checker flagged every picture of the job."""

    code, title, status = "nsfw_blocked", "Every picture was withheld", 422


class PictureCheckFailed(AttemptError):
    """The image checker gave no verdict, so no picture was let out."""

    code, title, retryable = "picture_check_failed", "The pictures could not be checked", True
