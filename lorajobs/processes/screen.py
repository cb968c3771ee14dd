"""The lines of several processes in one terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

COLORS = ("cyan", "green", "magenta", "blue", "yellow")


class Screen:
    """Shows each line behind the name of its process, in that process's colour."""

    def __init__(self, title: str, names: Sequence[str]) -> None:
        """Lines of the group itself go by `title`."""
        self._title = title
        self._colors = dict(zip(names, COLORS * len(names), strict=False))
        self._width = max(map(len, [title, *names]))
        self._console = Console(highlight=False, soft_wrap=True)

    def say(self, name: str, line: str) -> None:
        """Shows a line of this process; without a name, of the group."""
        style = self._colors.get(name, "bold")
        head = Text(f"{name or self._title:{self._width}} │ ", style=style)
        try:
            self._console.print(head + Text(line))
        except OSError:  # the terminal is gone; the logs are not
            self._console.quiet = True
