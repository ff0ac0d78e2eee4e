"""`embryofl-tunnel`: remote access to the hub."""

import typer

from embryofl import exits
from embryofl.command_line import command_line, run_command
from embryofl.errors import UserError
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


def main() -> None:
    """Entry point."""
    run_command(app)
