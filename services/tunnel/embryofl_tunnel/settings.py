"""The tunnel's settings, from the environment: ngrok's own variables by their own names."""

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from embryofl.process import read_settings
from embryofl.schema import ADDRESS


class TunnelSettings(BaseSettings):
    """What to open, and where to report it."""

    model_config = SettingsConfigDict(env_prefix="EMBRYOFL_", frozen=True, populate_by_name=True)

    gateway_address: str = Field(default="127.0.0.1:8443", pattern=ADDRESS)  # where the tunnel ends
    tunnel_file: Path = Path("/tunnel/state.json")  # read by the hub
    ngrok_path: Path = Path("/usr/local/bin/ngrok")  # the agent; never downloaded
    remote_addr: str = Field(  # an address reserved at ngrok
        default="", validation_alias="NGROK_REMOTE_ADDR", pattern=ADDRESS + r"|^$"
    )


def load_settings() -> TunnelSettings:
    """Read the settings. Raises `UserError` for one that cannot be used."""
    return read_settings(
        TunnelSettings, {}, "NGROK_REMOTE_ADDR is an address reserved at ngrok, such as 1.tcp.eu.ngrok.io:12345."
    )


def take_token() -> str:
    """ngrok's token, removed from the environment, so that no process started from here inherits it."""
    return os.environ.pop("NGROK_AUTHTOKEN", "").strip()
