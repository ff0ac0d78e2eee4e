"""Where a demo federation keeps things, and which federation is meant.

.embryofl/demo/<name>/hub/            the hub's state
.embryofl/demo/<name>/clinics/<clinic>/   a clinic's own state (its key, its cache)
.embryofl/demo/<name>/data/<clinic>/  a clinic's private images
.embryofl/demo/<name>/logs/           one log a process
.embryofl/demo/current                the name used last
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from embryofl.errors import UserError
from embryofl.files import write_atomic


def base() -> Path:
    """The folder of all demo federations (`EMBRYOFL_DEMO_DIR`, default `.embryofl/demo`)."""
    return Path(os.environ.get("EMBRYOFL_DEMO_DIR", ".embryofl/demo")).absolute()


@dataclass(frozen=True)
class DemoFolder:
    """The folder of one demo federation."""

    root: Path

    @property
    def hub(self) -> Path:
        """The hub's state."""
        return self.root / "hub"

    @property
    def logs(self) -> Path:
        """Logs."""
        return self.root / "logs"

    @property
    def pid_file(self) -> Path:
        """Locked by the supervisor while it runs; holds its process id."""
        return self.root / "supervisor.pid"

    def data(self, clinic: str) -> Path:
        """A clinic's images."""
        return self.root / "data" / clinic

    def clinic(self, clinic: str) -> Path:
        """A clinic's state."""
        return self.root / "clinics" / clinic

    @property
    def tunnel(self) -> Path:
        """What the tunnel says of itself."""
        return self.root / "tunnel" / "state.json"

    @property
    def targets(self) -> Path:
        """Where Prometheus finds hub and clinics."""
        return self.root / "targets"

    @property
    def ports_file(self) -> Path:
        """The ports this federation was last started with."""
        return self.root / "ports.json"

    @property
    def ports(self) -> dict[str, int]:
        """Ports by part: gateway, server, superlink."""
        ports: dict[str, int] = json.loads(self.ports_file.read_text())
        return ports

    def make_current(self) -> None:
        """Let `status`, `logs` and `down` mean this one."""
        write_atomic(base() / "current", self.root.name.encode())


def current() -> DemoFolder:
    """The federation used last; `UserError` when there is none."""
    path = base() / "current"
    if not path.exists():
        raise UserError("There is no demo federation yet. Start one with: make demo")
    return DemoFolder(base() / path.read_text())
