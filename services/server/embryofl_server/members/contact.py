"""How clinics reach and trust this hub: its addresses, the tunnel's, and its certificate authorities."""

import time
from pathlib import Path
from typing import Any

from embryofl.errors import with_code
from embryofl.invite import HUB_NAME, Invite
from embryofl.membership import HubContact
from embryofl.tunnel import TunnelState, read_tunnel_state
from embryofl_server.members.identity import HubIdentity

FRESH_S = 30.0  # the tunnel writes its file every few seconds; an older one belongs to a process that has ended


class Contact:
    """Invites carry it, and clinics receive it with each status.

    Parameters
    ----------
    addresses : list of str
        Addresses of the gateway as the coordinator set them, host:port.
    tunnel_file : Path or None
        The file that the tunnel (`embryofl-tunnel`, a process of its own) writes; None = no tunnel.
    identity : HubIdentity
    """

    def __init__(self, addresses: list[str], tunnel_file: Path | None, identity: HubIdentity) -> None:
        self._addresses, self._tunnel_file, self._identity = addresses, tunnel_file, identity

    def current(self) -> HubContact:
        """Addresses, CAs and name. The tunnel's address is kept while the tunnel is down: it may return there."""
        tunnel = self._read()
        addresses = [*self._addresses, *([tunnel.address] if tunnel and tunnel.address else [])]
        return HubContact(hubs=list(dict.fromkeys(addresses)), ca=self._identity.ca.decode(), server_name=HUB_NAME)

    def invite(self, name: str, secret: str) -> Invite:
        """An invite to this hub."""
        return Invite(name=name, secret=secret, **self.current().model_dump())

    def tunnel(self) -> dict[str, Any] | None:
        """For the status: `up`, `address`, `before` (its previous address), `words`; None = no tunnel."""
        if self._tunnel_file is None:
            return None
        state = self._read()
        if state is None:
            return {"up": False, "address": "", "before": "", "words": "The tunnel has not been started yet."}
        running = time.time() - state.time <= FRESH_S
        message = state.words if running else with_code("H7", "The tunnel's process is not running.")
        return {"up": running and state.up, "address": state.address, "before": state.before, "words": message}

    def _read(self) -> TunnelState | None:
        return read_tunnel_state(self._tunnel_file) if self._tunnel_file else None
