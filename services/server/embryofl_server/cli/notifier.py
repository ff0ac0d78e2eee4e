"""`embryofl-server notifier`: the process that tells people by mail or webhook."""

import typer

from embryofl import exits
from embryofl.command_line import command_line

app = command_line("The notifier, which tells people by mail or webhook what needs them.")


@app.command()
def serve() -> None:
    """Run the notifier until it is stopped."""
    from embryofl_server.monitor.notifier.service import serve as run

    run()


@app.command("test")
def send_trial() -> None:
    """Send a test message by each way that the settings name. Exit code 1 if one does not arrive."""
    from embryofl_server.monitor.notifier.service import send_trials

    failures = send_trials()
    for name, words in failures.items():
        typer.echo(f"{name}: {words or 'the test message was taken.'}")
    if any(failures.values()):
        raise typer.Exit(exits.NO)
