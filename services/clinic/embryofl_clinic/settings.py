"""The clinic's settings, from the environment (prefix `EMBRYOFL_`)."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from embryofl.process import read_settings
from embryofl.schema import Meaning


class ClinicSettings(BaseSettings):
    """Where data and state are, and how to compute. The policy is a separate file (`policy/rules.py`)."""

    model_config = SettingsConfigDict(env_prefix="EMBRYOFL_", frozen=True)

    data_dir: Path = Path("/data")  # private images, never written
    state_dir: Path = Path("/state")
    invite_file: Path | None = None  # with an invite code, for a start without a person
    hubs: str = ""  # addresses of the hub (host:port, comma-separated) to try before the known ones
    meaning: Meaning = "quality"  # what label 1 means here
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=0, ge=0)  # CPU threads for training; 0 = one per core
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)  # for Prometheus, plain HTTP; 0 = no metrics

    @property
    def identity_dir(self) -> Path:
        """The private key and what is known of the hub."""
        return self.state_dir / "identity"

    @property
    def cache_dir(self) -> Path:
        """Decoded images."""
        return self.state_dir / "cache"


def load_settings(**options: object) -> ClinicSettings:
    """Read the settings; `options` come from the command line. Raises `UserError` for one that cannot be used."""
    return read_settings(ClinicSettings, options)
