"""The tunnel's settings, from the environment: ngrok's own variables by their own names."""

import os
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from embryofl.errors import UserError
from embryofl.schema import ADDRESS, explain


class TunnelSettings(BaseSettings):
    """What to open, and where to say so."""

    model_config = SettingsConfigDict(env_prefix="EMBRYOFL_", frozen=True, populate_by_name=True)

    gateway_address: str = Field(default="127.0.0.1:8443", pattern=ADDRESS)  # where the tunnel ends
    tunnel_file: Path = Path("/tunnel/state.json")  # read by the hub
    ngrok_path: Path = Path("/usr/local/bin/ngrok")  # the agent; never downloaded
    remote_addr: str = Field(
        default="", validation_alias="NGROK_REMOTE_ADDR", pattern=ADDRESS + r"|^$"
    )  # a reserved one


def load_settings() -> TunnelSettings:
    """Read the settings; `UserError` in words."""
    try:
        return TunnelSettings()
    except ValidationError as exc:
        raise UserError(
            f"A setting of the tunnel's cannot be used: {explain(exc)}. NGROK_REMOTE_ADDR is a reserved address such as "
            "1.tcp.eu.ngrok.io:12345."
        ) from exc


def take_token() -> str:
    """ngrok's token, out of the environment: no process that is started from here inherits it."""
    return os.environ.pop("NGROK_AUTHTOKEN", "").strip()
