"""The server process: logging, TLS, and the HTTP server around `Hub`."""

import logging
import os

import uvicorn

# Before flwr is imported: no telemetry, no look for updates, nothing written to a home folder.
os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")


def serve() -> None:
    """Serve until SIGTERM or SIGINT."""
    from embryofl_server.api.app import create_app
    from embryofl_server.hub import Hub
    from embryofl_server.settings import load_settings

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
