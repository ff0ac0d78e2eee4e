"""How every program ends: with an exit code of `embryofl.exits`, and without a traceback for what a person can correct."""

import signal
import sys
from typing import Any

import click
import typer

from embryofl import exits
from embryofl.errors import UserError, with_code


def command_line(help_: str) -> typer.Typer:
    """A command line, or a group of its commands, without any yet."""
    return typer.Typer(
        help=help_,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        suggest_commands=False,  # Click does so itself
    )


def run_command(app: typer.Typer) -> None:
    """Run a command line and end the process.

    A `UserError` is printed as its text, and so is a command or an option that cannot be used, which also shows where to
    look it up. SIGTERM interrupts as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code: Any = app(standalone_mode=False)
    except click.ClickException as exc:
        if words := exc.format_message():  # none when help was printed, for want of a command
            print(with_code("S7", words + _where_to_look(exc)), file=sys.stderr)
        sys.exit(exits.USER_ERROR)
    except UserError as exc:
        print(exc, file=sys.stderr)
        sys.exit(exits.USER_ERROR)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(exits.INTERRUPTED)
    sys.exit(code if isinstance(code, int) else exits.DONE)


def _where_to_look(exc: click.ClickException) -> str:
    end = "" if exc.format_message().endswith((".", "?", "?)")) else "."
    context = exc.ctx if isinstance(exc, click.UsageError) else None
    return f"{end} See: {context.command_path} --help" if context else end
