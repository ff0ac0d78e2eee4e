"""`embryofl-tunnel`: remote access to the hub."""

import asyncio
import re
from typing import Annotated

import typer

from embryofl import exits
from embryofl.command_line import command_line, run_command
from embryofl.errors import UserError
from embryofl.process import set_up_logging
from embryofl.schema import ADDRESS
from embryofl.tunnel import read_tunnel_state
from embryofl_tunnel.settings import load_settings

app = command_line("Remote access to the hub through ngrok.")


@app.command()
def run() -> None:
    """Keep a TCP tunnel to the gateway open (NGROK_AUTHTOKEN, NGROK_REMOTE_ADDR) until stopped."""
    from embryofl_tunnel.service import serve

    serve(load_settings())


@app.command()
def status() -> None:
    """Show whether the tunnel is up, and its address. Exit code 1 when it is not."""
    path = load_settings().tunnel_file
    state = read_tunnel_state(path)
    if state is None:
        raise UserError("H7", f"There is no state of a tunnel in {path}. Start one with: embryofl-tunnel run")
    if not state.up:
        typer.echo(f"No tunnel: {state.words}")
        raise typer.Exit(exits.NO)
    typer.echo(f"Remote access at {state.address}" + (f" (was {state.before})" if state.before else ""))


@app.command()
def passage(
    hosts: Annotated[str, typer.Argument(help="Machines that may be reached, HOST:PORT, comma-separated.")],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 3128,
) -> None:
    """Let the hub reach the institution's login, and nothing else (an HTTP proxy for CONNECT), until stopped."""
    from embryofl_tunnel.passage import serve as serve_passage

    allowed = [name.strip() for name in hosts.split(",")]
    if wrong := [name for name in allowed if not re.fullmatch(ADDRESS, name)]:
        raise UserError(
            "S7", f"{wrong[0]!r} is not a machine to reach. Expected HOST:PORT, such as login.hospital.example:443."
        )
    set_up_logging()
    asyncio.run(serve_passage(allowed, host, port))


def main() -> None:
    """Entry point."""
    run_command(app)
