"""Where a demo federation keeps its files, and which federation was used last.

.embryofl/demo/<name>/hub/            the hub's state
.embryofl/demo/<name>/hub-signer/     the signer's: the key of the authority that clinics trust
.embryofl/demo/<name>/clinics/<clinic>/   a clinic's own state (its key, its cache)
.embryofl/demo/<name>/data/<clinic>/  a clinic's private images
.embryofl/demo/<name>/logs/           one log per process
.embryofl/demo/current                the name used last
"""

import json
import os
from pathlib import Path

from embryofl.errors import UserError
from embryofl.files import write_atomic


def base() -> Path:
    """The folder of all demo federations (`EMBRYOFL_DEMO_DIR`, default `.embryofl/demo`)."""
    return Path(os.environ.get("EMBRYOFL_DEMO_DIR", ".embryofl/demo")).absolute()


class DemoFolder:
    """The folder of one demo federation."""

    def __init__(self, root: Path) -> None:
        self.root, self.hub, self.logs = root, root / "hub", root / "logs"
        self.tunnel = root / "tunnel" / "state.json"  # the tunnel's; there only if it was last started with one
        self.notifier = (
            root / "notifier"
        )  # its state; settings.toml is there only if it was last started with a notifier
        self.targets = root / "targets"  # where Prometheus finds hub and clinics
        self.ports_file = root / "ports.json"
        self.pid_file = root / "supervisor.pid"  # locked by the supervisor while it runs; holds its process id

    def data(self, clinic: str) -> Path:
        """A clinic's images."""
        return self.root / "data" / clinic

    def clinic(self, clinic: str) -> Path:
        """A clinic's state."""
        return self.root / "clinics" / clinic

    @property
    def ports(self) -> dict[str, int]:
        """The ports that it was last started with, by part: gateway, server, superlink, metrics."""
        ports: dict[str, int] = json.loads(self.ports_file.read_text())
        return ports

    def make_current(self) -> None:
        """Make `status`, `logs` and `hub` use this federation."""
        write_atomic(base() / "current", self.root.name.encode())


def current() -> DemoFolder:
    """The federation used last; `UserError` when there is none."""
    path = base() / "current"
    if not path.exists():
        raise UserError("S9", "There is no demo federation yet. Start one with: make demo")
    return DemoFolder(base() / path.read_text())
