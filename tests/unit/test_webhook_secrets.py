"""What signs webhooks: one secret for each key, two after a change."""

import base64
import itertools

import pytest
from standardwebhooks import Webhook

from lorajobs.api_keys import ApiKey, Scope, create, rotated
from lorajobs.testing import ManualClock, MemoryApiKeys
from lorajobs.webhook_secrets import Secrets, WebhookSecrets, new_secret

KEYLESS = new_secret()
OVERLAP_S = 60


class Desk:
    """Keys, and their secrets."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.keys = MemoryApiKeys(self.clock)
        self.secrets = WebhookSecrets(lambda: KEYLESS, self.keys, OVERLAP_S, self.clock)

    def key(self, name: str) -> ApiKey:
        return create(self.keys, name, [Scope.READ])[0]

    def rotate(self, key: ApiKey) -> None:
        now = self.keys.update(key.id, rotated)
        assert now
        assert now.rotated_ms
        self.clock.now_ms = now.rotated_ms


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_each_key_has_its_own_and_keeps_it(desk: Desk) -> None:
    keys = [desk.key("anna"), desk.key("ben")]
    found = [desk.secrets.of(key.id) for key in keys]
    assert [desk.secrets.of(key.id) for key in keys] == found
    assert len({KEYLESS, *(s.current for s in found)}) == 3
    assert [s.former for s in found] == [None, None]
    # Another root, as on another server, gives others.
    assert Desk().secrets.of(keys[0].id) != found[0]


def test_jobs_without_a_key_have_the_main_one(desk: Desk) -> None:
    desk.key("anna")
    assert desk.secrets.of("") == desk.secrets.of("nobody") == Secrets(KEYLESS)
    assert Secrets(KEYLESS).all == (KEYLESS,)


def test_secrets_are_in_standard_base64_of_32_bytes(desk: Desk) -> None:
    for text in (new_secret(), desk.secrets.of(desk.key("anna").id).current):
        assert text.startswith("whsec_")
        assert len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) == 32
        Webhook(text)
    assert new_secret() != new_secret()


def test_after_a_change_both_sign_for_a_while(desk: Desk) -> None:
    key = desk.key("anna")
    first = desk.secrets.of(key.id).current
    desk.rotate(key)
    changed = desk.secrets.of(key.id)
    assert changed.former == first
    assert changed.all == (changed.current, first)
    assert changed.former_until_ms == desk.clock.now_ms + 1000 * OVERLAP_S
    desk.clock.advance(OVERLAP_S - 0.001)
    assert desk.secrets.of(key.id) == changed
    desk.clock.advance(0.001)
    assert desk.secrets.of(key.id) == Secrets(changed.current)


def test_a_change_that_is_repeated_is_one(desk: Desk) -> None:
    key = desk.key("anna")
    first = desk.secrets.of(key.id).current
    once = desk.secrets.rotate(key.id)
    assert once.former == first
    assert desk.secrets.rotate(key.id) == desk.secrets.of(key.id) == once
    desk.clock.advance(OVERLAP_S)
    assert desk.secrets.rotate(key.id).former == once.current


def test_no_secret_comes_again(desk: Desk) -> None:
    key = desk.key("anna")
    seen = [desk.secrets.of(key.id).current]
    for _ in range(3):
        desk.rotate(key)
        now = desk.secrets.of(key.id)
        assert now.former == seen[-1]
        seen.append(now.current)
    assert all(a != b for a, b in itertools.combinations(seen, 2))
