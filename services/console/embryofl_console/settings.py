"""The console's settings, from the environment (prefix `EMBRYOFL_CONSOLE_`)."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ConsoleSettings(BaseSettings):
    """Where the console listens, and where it finds the hub.

    `identity` is a folder with `internal.crt` and `control.token`; `state` keeps the password's hash.
    """

    model_config = SettingsConfigDict(env_prefix="EMBRYOFL_CONSOLE_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=7860, ge=1, le=65535)
    names: str = "localhost,127.0.0.1"  # what a browser may call it, comma-separated
    hub: str = "127.0.0.1:9000"
    identity: Path = Path("/identity")
    state: Path = Path("/state")
