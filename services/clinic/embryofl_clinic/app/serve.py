"""`embryofl-clinic app`: serve the clinic app on loopback and print the link that opens it."""

import os
import socket
from pathlib import Path

import typer
import uvicorn

from embryofl.errors import UserError
from embryofl.process import set_up_logging
from embryofl_clinic.app.access import Links
from embryofl_clinic.app.pages import Pages, create_app
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.workload.embryo import pick_device

PORT = 8088
LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside a container only, see `check_host`
HOSTS_OWN = ("docker", "podman", "cni", "virbr", "br-", "wl", "en")
"""Prefixes of network interfaces that only a machine has, not a container with its own network."""


def in_container() -> bool:
    """Whether this process runs in a Docker or Podman container."""
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def check_host(host: str) -> None:
    """Raise `UserError` unless the address is loopback, or any address in a container with its own network."""
    if host in LOOPBACK:
        return
    if host == EVERYWHERE and in_container():
        shared = [name for _, name in socket.if_nameindex() if name.startswith(HOSTS_OWN)]
        if not shared:
            return
        raise UserError(
            "M4",
            f"This container shares the machine's network ({', '.join(shared[:4])}), so {host} would be open to other "
            "machines. Expected a container with its own network: omit --network host, or --host.",
        )
    raise UserError(
        "M4",
        f"Found --host {host}. The app listens on loopback only, such as 127.0.0.1, never on a network. In a container use "
        f"--host {EVERYWHERE}, published with -p 127.0.0.1:{PORT}:{PORT}.",
    )


def serve(settings: ClinicSettings, host: str, port: int) -> None:
    """Serve until stopped. Raises `UserError` for a bad or taken address, or a state folder that is not writable."""
    check_host(host)
    if not settings.state_dir.is_dir() or not os.access(settings.state_dir, os.W_OK):
        raise UserError(
            "J8",
            f"The state folder {settings.state_dir} does not exist or cannot be written. Expected the one of this clinic's "
            "trainer: name it with --state, or mount its volume at /state.",
        )
    set_up_logging()
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as exc:
        raise UserError(
            "S3", f"The app cannot listen on {host}:{port} ({exc.strerror}). Stop what uses it, or name another --port."
        ) from exc
    shown = "127.0.0.1" if host == EVERYWHERE else f"[{host}]" if ":" in host else host
    actual = listening.getsockname()[1]

    def on_link(path: str) -> None:
        # Only to the terminal: a link is a single-use password.
        typer.echo(f"Open this page (works once): http://{shown}:{actual}{path}")

    pages = Pages(settings, pick_device(settings.device))
    links = Links(on_link)
    links.new_link()
    config = uvicorn.Config(
        create_app(pages, links),
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        proxy_headers=False,
        ws="none",
        limit_concurrency=40,
        timeout_keep_alive=10,
    )
    with listening:
        uvicorn.Server(config).run(sockets=[listening])
