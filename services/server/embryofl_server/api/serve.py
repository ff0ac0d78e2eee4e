"""The server process: logging, TLS, and the HTTP server around `Hub`."""

import logging

import uvicorn

from embryofl_server.api.app import create_app
from embryofl_server.hub import Hub
from embryofl_server.settings import load_settings


def serve() -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
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
