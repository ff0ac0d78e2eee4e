"""The parts that texts for a terminal are made of: console, tables, times, state labels."""

import sys
import time

from rich.console import Console
from rich.table import Table
from rich.text import Text

from embryofl.states import label

WIDTH = 120  # columns where the output is not a terminal
_GOOD = {"done", "enrolled", "online", "finished"}
_BAD = {"refused", "failed", "late", "offline", "stopped", "suspended"}


def make_console() -> Console:
    """A console for tables; wide enough for them in a log, too."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table in the style of all commands."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column)
    return made


def state_text(kind: dict[str, str], state: str) -> Text:
    """The label of a state in its colour."""
    style = "green" if state in _GOOD else "red" if state in _BAD else "yellow"
    return Text(label(kind, state), style=style)


def utc(moment: float, form: str = "%Y-%m-%d %H:%M") -> str:
    """A moment, Unix time in seconds, as text."""
    return time.strftime(form, time.gmtime(moment))
