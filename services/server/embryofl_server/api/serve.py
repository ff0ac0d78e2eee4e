"""The server process: logging, TLS, and the HTTP server around `Hub`."""

import uvicorn

from embryofl.process import set_up_logging
from embryofl_server.api.app import create_app
from embryofl_server.hub import Hub
from embryofl_server.settings import load_settings


def serve() -> None:
    """Serve until SIGTERM or SIGINT."""
    set_up_logging()
    settings = load_settings()
    hub = Hub(settings)
    certificate, key = hub.identity.certificate
    uvicorn.run(
        create_app(hub),
        host=settings.listen_host,
        port=settings.listen_port,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        log_level="warning",
        access_log=False,  # URLs carry signatures
        server_header=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=75,
    )
