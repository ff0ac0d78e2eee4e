"""`embryofl-server`'s commands for what waits for a second person."""

from typing import Annotated

import typer

from embryofl_server.api.client import call

app = typer.Typer()
Number = Annotated[int, typer.Argument(help="The request's number; `status` lists those that wait.")]


@app.command()
def confirm(number: Number) -> None:
    """Do what another coordinator has asked for: embryofl-server --as NAME confirm NUMBER."""
    typer.echo(f"Done: {call('POST', '/control/requests/confirm', {'number': number})['what']}.")


@app.command("withdraw-request")
def withdraw_request(number: Number) -> None:
    """Let a request wait no more, without doing it."""
    typer.echo(f"Withdrawn: {call('POST', '/control/requests/withdraw', {'number': number})['what']}.")
