"""`embryofl-console`: serve the console, or create its password."""

import logging
from http import HTTPStatus
from typing import Annotated

import typer

from embryofl import exits
from embryofl.errors import run_command
from embryofl_console.settings import load_settings

app = typer.Typer(
    help="The coordinator's console.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


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
def health() -> None:
    """Check that the console replies at its own address. Exit code 1 when it does not."""
    import http.client

    settings = load_settings()
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=4)
    try:
        connection.request("GET", "/healthz", headers={"Host": settings.allowed[0]})
        status = connection.getresponse().status
        fault = "" if status == HTTPStatus.OK else f"replies with status {status}, expected 200"
    except OSError as exc:
        fault = f"does not reply ({exc})"
    if fault:
        typer.echo(f"The console at {settings.host}:{settings.port} {fault}.", err=True)
        raise typer.Exit(exits.NO)


@app.command()
def password(new: Annotated[bool, typer.Option("--new", help="Replace the present password.")] = False) -> None:
    """Create the password and print it once. If there already is one, nothing is printed."""
    from embryofl_console.login_sessions import new_password

    path = load_settings().state / "password"
    if new or not path.exists():
        typer.echo(new_password(path))


def main() -> None:
    """Entry point."""
    run_command(app)
