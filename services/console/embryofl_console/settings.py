"""The console's settings, from the environment (prefix `EMBRYOFL_CONSOLE_`)."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from embryofl.process import read_settings


class ConsoleSettings(BaseSettings):
    """Where the console listens, and where it finds the hub.

    `identity` is a folder with `internal.crt`, `control.token` and `sessions.json`. With `mode` compose the federation is
    in containers: local clinics are started by `make` alone, and never from here.
    """

    model_config = SettingsConfigDict(env_prefix="EMBRYOFL_CONSOLE_", env_ignore_empty=True, frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=7860, ge=1, le=65535)
    names: str = "localhost,127.0.0.1"  # what a browser may call it, comma-separated
    hub: str = "127.0.0.1:9000"
    identity: Path = Path("/identity")
    mode: Literal["demo", "compose"] = "compose"
    grafana_url: str = ""  # as the coordinator's browser reaches it; "" = there is none
    prometheus_url: str = ""
    demo_socket: Path | None = None  # where `make demo` starts and stops its clinics for the console

    @property
    def allowed(self) -> list[str]:
        """The names in `names`."""
        return [n.strip() for n in self.names.split(",") if n.strip()]


def load_settings() -> ConsoleSettings:
    """Read the settings; `UserError` naming one that cannot be used."""
    return read_settings(ConsoleSettings, {})
