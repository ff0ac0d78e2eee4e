"""Hubs in the test's process, without a SuperLink, and clients of their API."""

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from embryofl_server.api.app import create_app
from embryofl_server.hub import Hub
from embryofl_server.settings import HubSettings


def hub_settings(folder: Path, **settings: Any) -> HubSettings:
    """Of a hub whose SuperLink is away."""
    return HubSettings(state_dir=folder, superlink_address="127.0.0.1:9", **settings)


def hub_at(folder: Path, **settings: Any) -> Hub:
    """A hub with this state folder, new or restarted."""
    return Hub(hub_settings(folder, **settings))


def headers_of(hub: Hub, who: str = "operator", session: str = "") -> dict[str, str]:
    """Of a call by the `operator`, the `console` or the `notifier`, for the person of a session if there is one."""
    tokens = {"console": hub.identity.console_token, "notifier": hub.identity.notices_token}
    token = tokens.get(who, hub.identity.control_token)
    return {"Authorization": f"Bearer {token}", **({"X-Embryofl-Session": session} if session else {})}


def client_of(hub: Hub, headers: dict[str, str] | None = None) -> TestClient:
    """A client of the hub's API, without its lifespan: no conductor."""
    return TestClient(create_app(hub), headers=headers)
