"""`embryofl-tunnel`: a way to the hub from outside."""

import typer

from embryofl.errors import UserError, run_command

app = typer.Typer(
    help="A way to the hub from outside, through ngrok.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run() -> None:
    """Keep a TCP tunnel to the gateway open (NGROK_AUTHTOKEN, NGROK_REMOTE_ADDR) until told to stop."""
    from embryofl_tunnel.service import serve
    from embryofl_tunnel.settings import load_settings

    serve(load_settings())


@app.command()
def status() -> None:
    """Say whether there is a tunnel, and where. Exit code 1 when there is none."""
    from pydantic import ValidationError

    from embryofl.tunnel import TunnelState
    from embryofl_tunnel.settings import load_settings

    path = load_settings().tunnel_file
    try:
        found = TunnelState.model_validate_json(path.read_text())
    except (OSError, ValidationError):
        raise UserError(f"{path} says nothing: there was no tunnel yet. Start it: embryofl-tunnel run") from None
    if not found.up:
        typer.echo(f"No tunnel: {found.words}")
        raise typer.Exit(1)
    typer.echo(
        f"The hub is reached from outside at {found.address}" + (f" (was {found.before})" if found.before else "")
    )


def main() -> None:
    """Entry point."""
    run_command(app)
