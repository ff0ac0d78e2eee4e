"""The command line's side of the control API."""

import getpass
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from contextvars import ContextVar
from typing import Any

from embryofl.errors import UserError
from embryofl_server.settings import HubSettings, load_settings

ACCEPTED = 202  # it was not done, and waits for a second person
_SESSION = ContextVar("session", default="")
"""Of the person that this command acts as; "": the local operator."""


def log_in(name: str, password: str, code: str = "") -> None:
    """Let all following calls be this person's; `UserError` as `call`, and for a wrong name, password or one-time code."""
    _SESSION.set(call("POST", "/control/login", {"name": name, "password": password, "code": code})["session"])


def log_out() -> None:
    """End the session of `log_in`."""
    call("POST", "/control/logout")
    _SESSION.set("")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in a container
        return f"uid-{os.getuid()}"


def call(method: str, path: str, body: dict[str, Any] | None = None, settings: HubSettings | None = None) -> Any:
    """Call the running server, by default that of the environment; `UserError` if it does not reply or rejects the call."""
    settings = settings or load_settings()
    identity = settings.state_dir / "identity"
    try:
        token = (identity / "control.token").read_bytes().hex()
        context = ssl.create_default_context(cafile=str(identity / "internal.crt"))
    except OSError as exc:
        raise UserError(
            "H1",
            f"No hub was found at {settings.state_dir} ({exc.strerror}). Expected the state folder of a hub that has "
            "been started: set EMBRYOFL_STATE_DIR, or start it.",
        ) from exc
    request = urllib.request.Request(
        f"https://{settings.server_address}{path}",
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={
            **({"X-Embryofl-Session": _SESSION.get()} if _SESSION.get() else {}),
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "X-Embryofl-By": f"{_user()}@{socket.gethostname()}".encode("ascii", "replace")[:100].decode(),
        },
    )
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)  # never through a proxy
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=120) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as exc:
        text = exc.read().decode(errors="replace")
        try:
            detail = json.loads(text)
            message = detail.get("error") or detail.get("detail") or text
        except ValueError:
            message = text
        raise UserError("H2", str(message)) from None
    except OSError as exc:
        reason = getattr(exc, "reason", exc)
        raise UserError(
            "H1",
            f"The server at {settings.server_address} did not reply ({reason}). Check that the hub is running: make "
            "status.",
        ) from None
    if response.status == ACCEPTED:
        raise UserError("H12", answer["waits"])
    return answer
