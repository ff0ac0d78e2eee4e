"""What the command lines share: a call to the running hub."""

from typing import Any


def hub_call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Call the running hub's control API; `UserError` when it is away or says no."""
    from embryofl_server.api.client import call
    from embryofl_server.settings import load_settings

    return call(load_settings(), method, path, body)
