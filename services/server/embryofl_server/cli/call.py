"""What the commands share: a call to the running hub, JSON for programs, text for people."""

import json
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


def print_json(value: Any) -> None:
    """Print a value for a program to read."""
    typer.echo(json.dumps(value, indent=1))


def print_text(text: RenderableType) -> None:
    """Print text or a table for a person."""
    make_console().print(text, soft_wrap=isinstance(text, str))
