"""A fleet that looks like one at work: two bases, four painting workers, three keys."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lorajobs.api_keys import Scope, create
from lorajobs.redis_keys import open_api_keys
from lorajobs.settings import Settings
from tests.services.line import Line, line
from tests.services.receiver import receiver
from tests.services.valkey import valkey
from tests.shelf import weights

STYLES = ("ink-wash", "neon-noir", "claymation", "blueprint", "woodcut", "pastel")
PHOTOS = ("golden-hour", "tintype", "macro")
#: What somebody may write wherever text is taken.
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
#: Every how many jobs one is of each adapter.
SHARES = (8, 5, 3, 2, 1, 1)
MODEL = '[models.{}]\nrepo = "{}"\ndefaults = {{ num_inference_steps = 20 }}\n'
LORA = '[loras.{}]\nsource = "{}"\nbase = "{}"\n'


def catalog(folder: Path) -> Path:
    """Writes a `lorajobs.toml` with two bases and their adapters."""
    loras = folder / "loras"
    loras.mkdir()
    text = MODEL.format("sdxl", "studio/sdxl") + MODEL.format("photo", "studio/photo")
    for base, names in (("sdxl", STYLES), ("photo", PHOTOS)):
        for name in names:
            (loras / f"{name}.safetensors").write_bytes(weights(name))
            text += LORA.format(name, f"loras/{name}.safetensors", base)
    path = folder / "lorajobs.toml"
    path.write_text(text)
    return path


class Fleet:
    """The line, the secrets of its keys by their names, and who submits."""

    def __init__(self, made: Line, keys: dict[str, str], hooks: str) -> None:
        self.line = made
        self.keys = keys
        self._hooks = hooks
        self._random = random.Random(7)

    def submit(self, key: str, model: str = "sdxl", **fields: Any) -> str:
        """Submits a job under a key; returns its id."""
        body = {"model": model, "prompt": "a lighthouse", **fields}
        shown = {"Authorization": f"Bearer {self.keys[key]}"}
        reply = self.line.http.post("/v1/jobs", json=body, headers=shown)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    def flood(self, jobs: int, model: str = "sdxl") -> None:
        """Submits jobs of all keys, most of them with the best-known adapters."""
        names = STYLES if model == "sdxl" else PHOTOS
        for _ in range(jobs):
            (name,) = self._random.choices(names, SHARES[: len(names)])
            key = self._random.choice(("shop", "shop", "shop", "app"))
            loras = [{"id": name, "scale": self._random.choice((0.8, 1.0))}]
            self.submit(key, model, loras=loras)

    def trouble(self) -> str:
        """Submits jobs that fail, and two whose webhooks nobody takes; returns the first's id."""
        first = self.submit("app", prompt="fail:bad_picture", loras=[{"id": "ink-wash"}])
        self.submit("shop", prompt="fail:internal", loras=[{"id": "woodcut"}])
        # Out of memory: tried again later.
        self.submit("shop", prompt="fail:oom", loras=[{"id": "neon-noir"}])
        for path in ("gone", "broken"):
            self.submit("app", webhook={"url": f"{self._hooks}{path}"}, num_inference_steps=2)
        return first


@contextmanager
def fleet(folder: Path, **env: str) -> Iterator[Fleet]:
    """A fleet with API and courier, but without workers yet."""
    for name in ("line", "valkey", "catalog"):
        (folder / name).mkdir()
    config = catalog(folder / "catalog")
    with valkey(folder / "valkey") as server, receiver() as hooks:
        hooks.choose = lambda received: 410 if received.path.endswith("gone") else 500
        own = {
            "LORAJOBS_REDIS_URL": server.url,
            "LORAJOBS_CONFIG": str(config),
            "LORAJOBS_LORA_ROOTS": json.dumps([str(config.parent)]),
            "LORAJOBS_LEASE_S": "2",
            "LORAJOBS_RENEW_S": "0.5",
            **env,
        }
        with line(folder / "line", **own) as made:
            made.start_api()
            made.start_courier()
            yield Fleet(made, _keys(server.url, made), f"{hooks.url.rstrip('/')}/")


def _keys(redis_url: str, made: Line) -> dict[str, str]:
    store = open_api_keys(Settings(redis_url=redis_url))
    scopes = {
        "shop": (Scope.SUBMIT, Scope.READ),
        "app": (Scope.SUBMIT, Scope.READ),
        HOSTILE: (Scope.SUBMIT,),
        "operator": (Scope.ADMIN,),
    }
    keys = {name: create(store, name, own)[1] for name, own in scopes.items()}
    made.http.headers["Authorization"] = f"Bearer {keys['operator']}"
    return keys
