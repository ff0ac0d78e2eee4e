"""The notifier's settings: where hub and files are from the environment, whom to tell and how from a file of its own, which
holds passwords and is shown nowhere."""

import ipaddress
import ssl
import tomllib
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from embryofl.errors import UserError
from embryofl.process import read_settings
from embryofl.schema import ADDRESS, Strict, explain

PRINTABLE = r"^[\x20-\x7e]*$"
MAILBOX = r"^[^@\s<>,]+@[^@\s<>,]+$"


class NotifierSettings(BaseSettings):
    """Where the notifier finds the hub and its own files."""

    model_config = SettingsConfigDict(env_prefix="EMBRYOFL_NOTIFIER_", env_ignore_empty=True, frozen=True)

    hub: str = Field(default="127.0.0.1:9000", pattern=ADDRESS)  # the server's API
    identity: Path = Path("/identity")  # internal.crt and notices.token, which the hub makes
    settings: Path = Path("/run/secrets/notify")  # the file with mail and webhook
    file: Path = Path("/notifier/state.json")  # what was told, and what failed; read by the hub


def _printable(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().isascii() or not value.get_secret_value().isprintable():
        raise ValueError("expected printable ASCII characters alone")
    return value


def _safe(value: SecretStr) -> SecretStr:
    """An address whose content nobody on the way can read."""
    try:
        url = urlsplit(_printable(value).get_secret_value())
        host, _ = url.hostname or "", url.port
    except ValueError:
        raise ValueError("expected an address such as https://hooks.example.org/...") from None
    if not host or url.username is not None or " " in value.get_secret_value():
        raise ValueError("expected an address such as https://hooks.example.org/... without a user name")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(host)):
        raise ValueError("expected https://, or http:// to this machine itself (127.0.0.1)")
    return value


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _trusted(value: str) -> str:
    """Certificates in PEM, or nothing."""
    try:
        ssl.create_default_context(cadata=value or None)
    except ssl.SSLError:
        raise ValueError("expected a certificate in PEM") from None
    return value


Secret = Annotated[SecretStr, AfterValidator(_printable)]
Authority = Annotated[str, AfterValidator(_trusted)]


class Mail(Strict):
    """The table `[mail]`: a mail server that takes messages over TLS with a login."""

    server: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls"] = "starttls"
    user: str = Field(pattern=PRINTABLE, min_length=1)
    password: Secret
    sender: str = Field(pattern=MAILBOX)
    to: list[Annotated[str, Field(pattern=MAILBOX)]] = Field(min_length=1, max_length=50)
    authority: Authority = ""


class Webhook(Strict):
    """The table `[webhook]`: an address that takes a message as JSON."""

    url: Annotated[SecretStr, AfterValidator(_safe)]
    format: Literal["slack", "teams", "matrix", "json"] = "json"
    token: Secret = SecretStr("")
    authority: Authority = ""


class Channels(Strict):
    """The whole file."""

    mail: Mail | None = None
    webhook: Webhook | None = None


def read_channels(path: Path) -> Channels:
    """Whom to tell. `UserError` without any value of the file, as they may be secrets."""
    try:
        channels = Channels.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as exc:
        raise UserError(
            "H14",
            f"{path} cannot be read ({exc.strerror}). Expected whom to tell, and how: docs/operations.md#notifications",
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UserError("H14", f"{path} is not a TOML file ({type(exc).__name__}). Correct it.") from None
    except ValidationError as exc:
        raise UserError(
            "H14", f"{path} cannot be used: {explain(exc, values=False)}. All settings: docs/settings.md#notifications"
        ) from None
    if channels.mail is None and channels.webhook is None:
        raise UserError("H14", f"{path} names nobody to tell. Expected a table [mail] or [webhook].")
    return channels


def load_settings() -> NotifierSettings:
    """Read the settings; `UserError` naming one that cannot be used."""
    return read_settings(NotifierSettings, {})
