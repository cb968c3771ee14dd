"""The Lua scripts, each with the key schema in front of it."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import redis

#: What makes new work: refused while the server is full, before anything is written. All other
#: scripts end or move what was accepted, and must go on then (`allow-oom`, Redis 7 and later).
_NEW_WORK = frozenset({"submit", "claim", "await_upload"})


class Script:
    """One script; the server is sent its text when it does not know it yet."""

    def __init__(self, client: redis.Redis, text: str) -> None:
        self._client: Any = client
        self._text = text
        self._known = client.register_script(text)

    def __call__(self, args: Sequence[str | int], client: Any = None) -> Any:  # noqa: ANN401
        """Runs it on `args`, the keys' prefix first; `client` may be a pipeline."""
        if client is not None:
            return self._known(args=args, client=client)
        try:
            return self._client.evalsha(self._known.sha, 0, *args)
        except redis.exceptions.NoScriptError:
            # redis-py would load it first, which a full server refuses.
            return self._client.eval(self._text, 0, *args)


def load(client: redis.Redis, *names: str) -> Mapping[str, Script]:
    """The scripts of these names."""
    folder = files("lorajobs") / "lua"
    head = (folder / "keys.lua").read_text()

    def text(name: str) -> str:
        flags = "" if name in _NEW_WORK else " flags=allow-oom"
        return f"#!lua{flags}\n{head}{(folder / f'{name}.lua').read_text()}"

    return {name: Script(client, text(name)) for name in names}
