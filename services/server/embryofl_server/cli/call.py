"""What the commands share: a call to the running hub, JSON for programs, text for people."""

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from embryofl_server.api.client import call
from embryofl_server.cli.text import make_console
from embryofl_server.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def hub_call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Call the running hub's control API; `UserError` when it cannot be reached or rejects the call."""
    return call(load_settings(), method, path, body)


def output(value: Any, as_json: bool, text: Callable[[Any], RenderableType]) -> None:
    """Print a value: as JSON for a program, or as the `text` made of it for a person."""
    shown = json.dumps(value, indent=1) if as_json else text(value)
    if isinstance(shown, str):
        typer.echo(shown)
    else:
        make_console().print(shown)
