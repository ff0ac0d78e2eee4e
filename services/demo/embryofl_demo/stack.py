"""The federation as plain processes: the same entry points, TLS and keys as in containers."""

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_demo.control import ControlSocket
from embryofl_demo.layout import DemoFolder
from embryofl_demo.preloaded import Preloaded
from embryofl_demo.supervisor import Supervisor, last_lines
from embryofl_server.api.client import call
from embryofl_server.cli.local import first_password, wait_until_joined
from embryofl_server.settings import HubSettings

READY_S = 60.0
MODELS_S = 25.0
"""A clinic learns of a finished model with its status, which the hub answers within 10 s."""
CADDYFILE = Path(__file__).parents[2] / "gateway" / "Caddyfile"  # the demo runs from a checkout


def program(name: str) -> str:
    """A command of this virtual environment."""
    folder = Path(sys.executable).parent
    if not (folder / name).exists():
        raise UserError("S2", f"{name} was not found in {folder}. Complete the set-up: make setup")
    return str(folder / name)


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def check_port(port: int) -> None:
    """Raise `UserError` if the gateway could not listen on this port."""
    if not port_is_free(port):
        raise UserError(
            "S3",
            f"Port {port} is in use by another program. Expected a free one for the gateway: stop that program, or "
            f"choose another port with `make demo PORT={port + 1}`.",
        )


def free_port() -> int:
    """Any free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


class Stack:
    """Hub and clinics of one demo federation.

    Parameters
    ----------
    place : DemoFolder
    port : int
        Of the gateway; the others are chosen and never leave the machine.
    ngrok : bool (default: False)
        Whether to open a tunnel to the gateway.
    notify : Path or None (default: None)
        Settings of notifications, of which a copy is kept; None = nobody is notified.
    preloaded : Preloaded or None (default: None)
        What hub and clinics are forked from, so that they start sooner.
    """

    def __init__(
        self,
        place: DemoFolder,
        port: int,
        *,
        ngrok: bool = False,
        notify: Path | None = None,
        preloaded: Preloaded | None = None,
    ) -> None:
        check_port(port)
        ports = {"gateway": port, **{part: free_port() for part in ("server", "superlink", "metrics")}}
        write_atomic(place.ports_file, json.dumps(ports).encode())
        self._targets: dict[str, str] = {}
        self.place, self.ports = place, ports
        self.supervisor = Supervisor(place.logs, preloaded)
        self._token = os.environ.pop("NGROK_AUTHTOKEN", "")  # for the tunnel only
        place.tunnel.parent.mkdir(parents=True, exist_ok=True)
        if ngrok:
            place.tunnel.touch()
        else:
            place.tunnel.unlink(missing_ok=True)
        if notify:
            write_atomic(place.notifier / "settings.toml", notify.read_bytes(), mode=0o600)
        else:
            (place.notifier / "settings.toml").unlink(missing_ok=True)
        self.settings = hub_settings(place)
        self._control: ControlSocket | None = None

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The hub's control API."""
        return call(method, path, body, self.settings)

    def start_hub(self) -> None:
        """Start signer and server, then SuperLink and gateway when the server is ready."""
        identity, ports = self.place.hub / "identity", self.ports
        self.supervisor.start("signer", [program("embryofl-server"), "signer", "serve"], hub_environment(self.place))
        self.supervisor.start("server", [program("embryofl-server"), "serve"], hub_environment(self.place))
        self._until(lambda: not port_is_free(ports["server"]), "server")
        self.supervisor.start(
            "superlink",
            [
                program("embryofl-server"),
                "superlink",
                f"--port={ports['superlink']}",
                f"--identity={identity / 'superlink'}",
            ],
            _flower_environment(self.place),
            last=True,
        )
        self.supervisor.start(
            "gateway",
            ["bash", str(CADDYFILE.with_name("gateway.sh")), str(CADDYFILE)],
            {
                "PATH": f"{Path(program('caddy')).parent}{os.pathsep}{os.environ.get('PATH', '')}",
                "GOGC": "50",
                "EMBRYOFL_GATEWAY_DIR": str(identity / "gateway"),
                "EMBRYOFL_GATEWAY_PORT": str(ports["gateway"]),
                "EMBRYOFL_GATEWAY_BIND": "127.0.0.1",
                "EMBRYOFL_SUPERLINK_ADDRESS": self.settings.superlink_address,
                "EMBRYOFL_SERVER_ADDRESS": self.settings.server_address,
                "EMBRYOFL_WEIGHTS_DIR": str(self.settings.weights),
                "XDG_DATA_HOME": str(self.place.root / "caddy"),
                "XDG_CONFIG_HOME": str(self.place.root / "caddy"),
            },
        )
        self._until(lambda: not port_is_free(ports["gateway"]), "gateway")
        self._until(lambda: not port_is_free(ports["superlink"]), "superlink")
        if self.place.tunnel.exists():
            self.supervisor.start(
                "tunnel",
                [program("embryofl-tunnel"), "run"],
                {
                    "NGROK_AUTHTOKEN": self._token,
                    "EMBRYOFL_TUNNEL_FILE": str(self.place.tunnel),
                    "EMBRYOFL_GATEWAY_ADDRESS": f"127.0.0.1:{ports['gateway']}",
                    "EMBRYOFL_NGROK_PATH": os.environ.get("NGROK_AGENT") or shutil.which("ngrok") or "ngrok",
                },
            )
        if self.settings.notifier_file:
            command = [program("embryofl-server"), "notifier", "serve"]
            self.supervisor.start("notifier", command, notifier_environment(self.place), needed=False)
        self._announce("hub", f"127.0.0.1:{ports['metrics']}")

    def start_clinic(self, name: str, command: list[str] | None = None) -> None:
        """Start a clinic; one that has not joined yet receives an invite, as a real one would."""
        env = {
            **_flower_environment(self.place),
            "EMBRYOFL_DATA_DIR": str(self.place.data(name)),
            "EMBRYOFL_STATE_DIR": str(self.place.clinic(name)),
            "EMBRYOFL_THREADS": os.environ.get("EMBRYOFL_THREADS", "1"),  # clinics share this machine
            "OMP_NUM_THREADS": "1",
        }
        if (self.place.clinic(name) / "identity" / "hub.json").exists():
            env["EMBRYOFL_HUBS"] = f"localhost:{self.ports['gateway']}"  # the port may have changed
        else:
            invite = self.place.clinic(name) / "invite"
            code = self.call("POST", "/control/invites", {"name": name, "local": True})["invite"]
            write_atomic(invite, code.encode(), mode=0o600)  # deleted when the clinic has joined
            env["EMBRYOFL_INVITE_FILE"] = str(invite)
        metrics = free_port()
        env["EMBRYOFL_METRICS_PORT"] = str(metrics)
        self._announce(name, f"127.0.0.1:{metrics}")
        self.supervisor.start(name, command or [program("embryofl-clinic"), "run"], env, optional=True)

    def start_console(self, port: int = 7860) -> tuple[str, str]:
        """Start the coordinator's console, on another port if this one is in use; its address, and the password of the
        hub's first person if that was made now (else "")."""
        port = port if port and port_is_free(port) else free_port()
        self._control = ControlSocket(self.supervisor)
        env = {
            "EMBRYOFL_CONSOLE_PORT": str(port),
            "EMBRYOFL_CONSOLE_HUB": self.settings.server_address,
            "EMBRYOFL_CONSOLE_IDENTITY": str(self.place.hub / "identity" / "console"),
            "EMBRYOFL_CONSOLE_MODE": "demo",
            "EMBRYOFL_CONSOLE_DEMO_SOCKET": str(self._control.socket),
        }
        password = first_password(self.call)
        self.supervisor.start("console", [program("embryofl-console"), "serve"], env, needed=False)
        return f"http://localhost:{port}", password

    def _announce(self, name: str, address: str) -> None:
        """Tell Prometheus (`make monitor`) where metrics are."""
        self._targets[name] = address
        for job in ("hub", "clinics"):
            targets = [{"targets": [a]} for n, a in self._targets.items() if (n == "hub") == (job == "hub")]
            write_atomic(self.place.targets / f"{job}.json", json.dumps(targets).encode())

    def wait_enrolled(self, names: list[str], seconds: float = 600.0) -> None:
        """Wait until these clinics have joined."""
        if missing := wait_until_joined(self.call, names, seconds, self.supervisor.check):
            raise UserError("S10", f"Not joined after {seconds:.0f} s: {', '.join(missing)}. See {self.place.logs}.")

    def wait_models(self, run: str, names: list[str], seconds: float = MODELS_S) -> list[str]:
        """Wait until these clinics have downloaded a finished run's model; returns those that have not."""
        end = time.monotonic() + seconds
        while missing := [n for n in names if not (self.place.clinic(n) / "models" / run / "model.json").exists()]:
            if time.monotonic() > end:
                break
            self.supervisor.check()
            time.sleep(0.2)
        return missing

    def _until(self, ready: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + READY_S
        while not ready():
            self.supervisor.check()
            if time.monotonic() > end:
                log = self.place.logs / f"{what}.log"
                tail = f" The end of its log:\n{last_lines(log)}" if log.exists() else ""
                raise UserError(
                    "S10", f"{what} was not ready after {READY_S:.0f} s. See the logs in {self.place.logs}.{tail}"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop everything; the state stays."""
        if self._control is not None:
            self._control.close()
        self.supervisor.stop()


def new_password(place: DemoFolder) -> str:
    """Replace the password of the first person of a hub that is running."""
    return first_password(partial(call, settings=hub_settings(place)), new=True)


def hub_settings(place: DemoFolder) -> HubSettings:
    """The hub's settings with the ports it was last started with."""
    ports = place.ports
    return HubSettings(
        state_dir=place.hub,
        listen_port=ports["server"],
        server_address=f"127.0.0.1:{ports['server']}",
        superlink_address=f"127.0.0.1:{ports['superlink']}",
        hostnames="localhost,127.0.0.1",
        public_port=ports["gateway"],
        metrics_port=ports["metrics"],
        tunnel_file=place.tunnel if place.tunnel.exists() else None,
        notifier_file=place.notifier / "state.json" if (place.notifier / "settings.toml").exists() else None,
    )


def hub_environment(place: DemoFolder) -> dict[str, str]:
    """Of the hub's processes and commands."""
    values = hub_settings(place).model_dump(exclude_none=True)
    return {**_flower_environment(place), **{f"EMBRYOFL_{k.upper()}": str(v) for k, v in values.items()}}


def notifier_environment(place: DemoFolder) -> dict[str, str]:
    """Of the notifier's process and its test."""
    return {
        "EMBRYOFL_NOTIFIER_HUB": f"127.0.0.1:{place.ports['server']}",
        "EMBRYOFL_NOTIFIER_IDENTITY": str(place.hub / "identity" / "notifier"),
        "EMBRYOFL_NOTIFIER_SETTINGS": str(place.notifier / "settings.toml"),
        "EMBRYOFL_NOTIFIER_FILE": str(place.notifier / "state.json"),
    }


def _flower_environment(place: DemoFolder) -> dict[str, str]:
    return {"FLWR_HOME": str(place.root / "flwr"), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
