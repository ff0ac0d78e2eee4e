"""`embryofl-console`: serve the console, or create its password."""

import logging
from typing import Annotated

import typer

from embryofl.command_line import command_line, run_command
from embryofl_console.settings import load_settings

app = command_line("The coordinator's console.")


@app.command()
def serve() -> None:
    """Serve until SIGTERM or SIGINT. Without a password nobody can log in."""
    import uvicorn

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = load_settings()
    from embryofl_console.app import create_app
    from embryofl_console.hub import HubClient

    web = create_app(settings, HubClient(settings))
    uvicorn.run(
        web,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )


@app.command()
def password(
    new: Annotated[bool, typer.Option("--new", help="Replace the present password.")] = False,
    at: Annotated[str, typer.Option(help="Print it in a sentence, with this address of the console.")] = "",
) -> None:
    """Create the password and print it once. If there already is one, nothing is printed."""
    from embryofl_console.login_sessions import new_password

    path = load_settings().state / "password"
    if new or not path.exists():
        words = "new password (shown this once; everyone was logged out)"
        if not new:
            words = "password (shown this once; for a new one: make console-password)"
        typer.echo(f"Console: {at}, {words}: {new_password(path)}" if at else new_password(path))


def main() -> None:
    """Entry point."""
    run_command(app)
