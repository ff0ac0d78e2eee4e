"""The hub's settings, from the environment (prefix `EMBRYOFL_`)."""

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from embryofl.process import read_settings


class HubSettings(BaseSettings):
    """Where the hub keeps its state and how its parts reach each other."""

    model_config = SettingsConfigDict(env_prefix="EMBRYOFL_", env_ignore_empty=True, frozen=True)

    state_dir: Path = Path("/hub")
    weights_dir: Path | None = None  # global models, readable by the gateway; default <state_dir>/weights
    listen_host: str = "127.0.0.1"
    listen_port: int = Field(default=9000, ge=1, le=65535)
    server_address: str = "127.0.0.1:9000"  # of the server's API, for the command line
    superlink_address: str = "127.0.0.1:8000"
    hostnames: str = "localhost"  # of the gateway, comma-separated; name:port where the port is not the public one
    public_port: int = Field(default=8443, ge=1, le=65535)
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)  # for Prometheus, plain HTTP; 0 = no metrics
    metrics_password_file: Path | None = None  # Prometheus's; default: identity/metrics.password, which the hub makes
    keep_checkpoints: int = Field(default=4, ge=1)
    certificate_days: float = Field(default=30, gt=0)  # of the gateway; renewed while the hub runs
    audit_anchor: Path | None = None  # file, best on another machine, to which each head of the audit log is appended
    signer_dir: Path | None = None  # the signer's own: key and log; default: the state folder's name and "-signer"
    signer_socket: Path | None = None  # where the server reaches the signer; default: socket in the signer's folder
    tunnel_file: Path | None = None  # state of the tunnel, if there is one (`embryofl-tunnel`)
    notifier_file: Path | None = None  # state of the notifier, if there is one (`embryofl-server notifier`)
    oidc_issuer: str = ""  # the institution's login (OpenID Connect), https://...; "" = people have passwords
    oidc_client_id: str = ""
    oidc_client_secret_file: Path | None = None  # None: a public client, with PKCE alone
    oidc_console: str = ""  # the console's address as browsers have it, to which the provider sends them back
    oidc_only: bool = False  # nobody logs in by password
    oidc_proxy: str = ""  # where requests to the provider leave from; "" = directly
    oidc_ca: Path | None = None  # PEM, of the provider's TLS certificate; None = the public authorities
    second_person: bool = False  # what cannot be undone or lowers a protection is done once another person confirms it
    invite_days: float = Field(default=7, gt=0)
    approval: Literal["auto", "manual"] | None = None  # manual: a clinic that joins waits for `approve`; see `by_hand`

    @property
    def by_hand(self) -> bool:
        """Whether a clinic that joins waits for `approve`. Unless set, it does as soon as other machines can reach the hub:
        by an address that is not this machine's or a container's own name, or by a tunnel."""
        if self.approval is None:
            return self.tunnel_file is not None or not all(map(_is_local, self.names))
        return self.approval == "manual"

    @property
    def weights(self) -> Path:
        """Folder of the global models."""
        return self.weights_dir or self.state_dir / "weights"

    @property
    def signer(self) -> Path:
        """The signer's folder, which nobody else reads."""
        return self.signer_dir or self.state_dir.with_name(f"{self.state_dir.name}-signer")

    @property
    def socket(self) -> Path:
        """The signer's socket."""
        return self.signer_socket or self.signer / "socket"

    @property
    def addresses(self) -> list[str]:
        """Hub addresses (host:port) that clinics try, in this order."""
        entries = [n.strip() for n in self.hostnames.split(",") if n.strip()]
        return [n if n.count(":") == 1 else f"{n}:{self.public_port}" for n in entries]

    @property
    def names(self) -> list[str]:
        """The gateway's names, as in its certificate."""
        return [a.rpartition(":")[0] for a in self.addresses]


def _is_local(name: str) -> bool:
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return "." not in name


def load_settings() -> HubSettings:
    """Read the settings; `UserError` naming one that cannot be used."""
    return read_settings(HubSettings, {})
