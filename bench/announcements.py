"""What the webhooks said, with their signatures checked."""

from collections import defaultdict

from standardwebhooks import Webhook, WebhookVerificationError

from tests.services.receiver import Receiver


class Announcements:
    """Per job the ids under which its end was announced, and the ends."""

    def __init__(self, receiver: Receiver, secret: str) -> None:
        self.ids: dict[str, set[str]] = defaultdict(set)
        self.ends: dict[str, set[str]] = defaultdict(set)
        self.forged = 0
        self._receiver = receiver
        self._webhook = Webhook(secret)
        self._read = 0

    def collect(self) -> None:
        """Takes in what has arrived since the last call; a signature is good for 5 minutes."""
        fresh = self._receiver.received[self._read :]
        self._read += len(fresh)
        for hook in fresh:
            try:
                told = self._webhook.verify(hook.body, dict(hook.headers))
            except WebhookVerificationError:
                self.forged += 1
                continue
            job_id = told["data"]["id"]
            self.ids[job_id].add(hook.headers["webhook-id"])
            self.ends[job_id].add(str(told["type"]).removeprefix("job."))
