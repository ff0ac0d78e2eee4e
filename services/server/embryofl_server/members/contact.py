"""How clinics reach and trust this hub: its addresses, the tunnel's, and its certificate authorities."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

from embryofl.errors import UserError, with_code
from embryofl.invite import Invite
from embryofl.membership import HubContact, SignedContact
from embryofl.tunnel import TunnelState, read_tunnel_state
from embryofl_server.members.identity import HubIdentity
from embryofl_server.state.signer.authority import hub_addresses

log = logging.getLogger("embryofl.contact")

FRESH_S = 30.0  # the tunnel writes its file every few seconds; an older one belongs to a process that has ended
RETRY_S = 10.0  # after the signer has not answered


class Contact:
    """Invites carry it, and clinics receive it, signed, with each status.

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
        self._lock, self._asked = threading.Lock(), (-RETRY_S, self._wanted())
        self._stated = identity.signer.contact()

    def current(self) -> HubContact:
        """Addresses, CAs and name. The tunnel's address is kept while the tunnel is down: it may return there."""
        return self.signed().contact

    def signed(self) -> SignedContact:
        """The same, signed; stated again when it has changed. Without an answer of the signer, it is the last statement."""
        with self._lock:
            (since, known), wanted = self._asked, self._wanted()
            if known != wanted and time.monotonic() - since >= RETRY_S:
                try:
                    self._stated, self._asked = self._identity.signer.contact(), (-RETRY_S, wanted)
                except UserError as exc:
                    self._asked = time.monotonic(), known
                    log.warning("clinics cannot be told what has changed: %s", exc)
            return self._stated

    def _wanted(self) -> tuple[list[str], bytes]:
        return hub_addresses(self._addresses, self._tunnel_file), self._identity.ca

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
