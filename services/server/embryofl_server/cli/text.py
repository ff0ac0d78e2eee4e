"""The parts that commands' output is made of: JSON for programs; console, tables, times, state labels for people."""

import json
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from embryofl.states import label

WIDTH = 120  # columns where the output is not a terminal
_GOOD = {"done", "enrolled", "online", "finished"}
_BAD = {"refused", "failed", "late", "offline", "stopped", "suspended"}
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def make_console() -> Console:
    """A console for tables; wide enough for them in a log, too."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def output(value: Any, as_json: bool, text: Callable[[Any], RenderableType]) -> None:
    """Print a value: as JSON for a program, or as the `text` made of it for a person."""
    shown = json.dumps(value, indent=1) if as_json else text(value)
    if isinstance(shown, str):
        typer.echo(shown)
    else:
        make_console().print(shown)


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
