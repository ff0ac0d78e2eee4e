"""`embryofl-clinic app`: serve the page on loopback and print the link that opens it."""

import logging
import os
import socket
from pathlib import Path

import typer
import uvicorn

from embryofl.errors import UserError
from embryofl_clinic.settings import ClinicSettings

log = logging.getLogger("embryofl.app")

PORT = 8088
LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = "0.0.0.0"  # noqa: S104 - inside a container only, see `check_host`
HOSTS_OWN = ("docker", "podman", "cni", "virbr", "br-", "wl", "en")
"""Beginnings of names of network interfaces that a machine has and a container of its own network has not."""


def in_container() -> bool:
    """Whether this process runs in a container of Docker's or Podman's."""
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def check_host(host: str) -> None:
    """Refuse any address but loopback; in a container of its own network also all of it, which Docker publishes.

    Raises
    ------
    UserError
    """
    if host in LOOPBACK:
        return
    if host == EVERYWHERE and in_container():
        shared = [name for _, name in socket.if_nameindex() if name.startswith(HOSTS_OWN)]
        if not shared:
            return
        raise UserError(
            f"This container shares the machine's network ({', '.join(shared[:4])}), so that {host} would be open to "
            "others. Expected a container of its own network: leave --network host out, or --host."
        )
    raise UserError(
        f"Found --host {host}. This page answers on loopback only, such as 127.0.0.1; it cannot be opened to a network. "
        f"In a container --host {EVERYWHERE} is taken, to be published with -p 127.0.0.1:{PORT}:{PORT}."
    )


def serve(settings: ClinicSettings, host: str, port: int) -> None:
    """Serve until told to stop.

    Raises
    ------
    UserError
        When the address is not loopback or is taken, or the state folder cannot be written.
    """
    check_host(host)
    if not settings.state_dir.is_dir() or not os.access(settings.state_dir, os.W_OK):
        raise UserError(
            f"The state folder {settings.state_dir} is not there or cannot be written. Expected the one of this clinic's "
            "trainer: name it with --state, or mount its volume at /state."
        )
    from embryofl_clinic.app.pages import Pages, create_app
    from embryofl_clinic.workload.embryo import pick_device

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as exc:
        raise UserError(
            f"{host}:{port} cannot be listened on ({exc.strerror}). Stop what uses it, or name another --port."
        ) from exc
    shown = "127.0.0.1" if host == EVERYWHERE else f"[{host}]" if ":" in host else host
    taken = listening.getsockname()[1]

    def on_link(path: str) -> None:
        # To the terminal and nowhere else: a link is a password that works once.
        typer.echo(f"Open this page (works once): http://{shown}:{taken}{path}")

    pages = Pages(settings, pick_device(settings.device))
    door = create_app(pages, on_link)
    door.new_link()
    config = uvicorn.Config(
        door,
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
