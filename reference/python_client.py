"""`docs/python-client.md`: the client's signatures and docstrings."""

import inspect
import re
from collections.abc import Callable

from lorajobs.client import Client, JobEvent
from lorajobs.client_errors import ApiUnreachable, ClientError
from reference.markdown import MADE, joined

INTRO = (
    "`from lorajobs import Client, ClientError, JobEvent`; the package without extras brings them. "
    "[The API](api.md#from-python) has a first script, [examples](examples.md) have more. " + MADE
)


def page() -> str:
    """The whole page."""
    methods = [
        _entry(f"Client.{name}", method)
        for name, method in vars(Client).items()
        if inspect.isfunction(method) and not name.startswith("_")
    ]
    return joined(
        [
            "# Python client",
            INTRO,
            "## Client",
            _code("Client", Client.__init__),
            _text(Client),
            _text(Client.__init__),
            *methods,
            "## JobEvent",
            _text(JobEvent),
            "\n".join(f"* `{name}`" for name in JobEvent._fields),
            "## ClientError",
            _text(ClientError),
            "It has `title`, `detail`, `status` (0 without an answer) and `errors`.",
            "## ApiUnreachable",
            f"{_text(ApiUnreachable)} It is a `ClientError`, in `lorajobs.client_errors`.",
        ]
    )


def _entry(name: str, method: Callable[..., object]) -> str:
    return joined([f"### {name.partition('.')[2]}", _code(name, method), _text(method)])


def _code(name: str, method: Callable[..., object]) -> str:
    signature = str(inspect.signature(method)).replace("(self, ", "(").replace("(self)", "()")
    # Names as they are written where they are imported.
    plain = re.sub(r"\b(?:collections\.abc|typing|pathlib|lorajobs\.client)\.(?=\w)", "", signature)
    return f"```python\n{name}{plain.removesuffix(' -> None')}\n```"


def _text(thing: object) -> str:
    return re.sub(r"\n+Raises: ", "\n\nRaises: ", inspect.getdoc(thing) or "")
