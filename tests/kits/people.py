"""People of a hub, logged in, for tests of what each role may do."""

from typing import Any

import pytest
from argon2 import PasswordHasher

from embryofl_server.state import people

PASSWORD = "correct horse battery"
ROLES = ("viewer", "auditor", "coordinator")


def cheapen_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of passwords take 1 MiB instead of 64."""
    monkeypatch.setattr(people, "_HASHER", PasswordHasher(time_cost=1, memory_cost=1024))


def everybody(hub: Any) -> dict[str, str]:
    """A person for each role, called as the role is; the sessions by role."""
    for role in ROLES:
        hub.people.add(role, role, PASSWORD)
    return {role: hub.people.log_in(role, PASSWORD) for role in ROLES}
