"""`embryofl-console`: serve the console."""

import logging

from embryofl.command_line import command_line, run_command
from embryofl_console.settings import load_settings

app = command_line("The coordinator's console.")


@app.callback()
def console() -> None:
    """The coordinator's console."""


@app.command()
def serve() -> None:
    """Serve until SIGTERM or SIGINT."""
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


def main() -> None:
    """Entry point."""
    run_command(app)
