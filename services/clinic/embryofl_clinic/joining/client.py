"""A member's signed requests to its hub: status, leaving, a new key. Trainer and commands both use it."""

import logging
import time
from collections.abc import Callable

import httpx
from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.invite import HUB_NAME
from embryofl.membership import MembershipStatus, StatusRequest, status_text, trust_mark
from embryofl.schema import Strict
from embryofl_clinic.joining.enrol import rejection_message
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.joining.route import Route

log = logging.getLogger("embryofl.status")


class HubClient:
    """One clinic's side of its membership.

    Parameters
    ----------
    identity : ClinicIdentity
    hub : JoinedHub
        What the clinic knows of its hub; replaced by `move_to`.
    first : str (default: "")
        Addresses (host:port, comma-separated) to try before the hub's own.
    """

    def __init__(self, identity: ClinicIdentity, hub: JoinedHub, first: str = "") -> None:
        self.identity, self.hub, self.route = identity, hub, Route(hub.contact, first)

    def move_to(self, hub: JoinedHub) -> None:
        """Use another name, address or authority from now on."""
        self.hub = hub
        self.route.update(hub.contact)

    def ask_status(self, now: float, *, shows: bool, session: str = "", known: str = "") -> MembershipStatus | None:
        """Ask for this clinic's status; None when no valid response came back.

        Parameters
        ----------
        now : float
            The hub's time, Unix time in seconds.
        shows : bool
            Whether other clinics may see this clinic's own metrics.
        session : str (default: "")
            Of the trainer's process.
        known : str (default: "")
            Digest of the other clinics' statistics that are already here.
        """
        name, trusts = self.hub.name, trust_mark(self.hub.ca)
        proof = self.identity.sign(status_text(name, now, session, trusts, shows))
        request = StatusRequest(
            name=name, asked=now, session=session, trusts=trusts, knows=known, shows=shows, proof=proof
        )
        try:
            with self.route.client(10) as client:
                response = client.post(f"https://{HUB_NAME}/v1/standing", json=request.model_dump())
            return MembershipStatus.model_validate_json(response.raise_for_status().content)
        except (httpx.HTTPError, ValidationError) as exc:
            log.debug("no status from the hub (%s)", type(exc).__name__)
            return None

    def post(self, path: str, request: Callable[[float], Strict], *, shows: bool) -> int:
        """Send a request that must be fresh; `request` makes it from the hub's time. Returns how many bytes it was.

        Raises
        ------
        UserError
            When the hub does not reply, or rejects it.
        """
        status = self.ask_status(time.time(), shows=shows)
        body = request(status.time if status else time.time()).model_dump()
        try:
            with self.route.client(20) as client:
                response = client.post(f"https://{HUB_NAME}{path}", json=body)
        except (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError):
            raise UserError(
                f"The hub at {self.route.hub} closed the connection before it replied, so this may or may not have been "
                "done. Run it again: that does no harm."
            ) from None
        except httpx.TransportError:
            raise UserError(
                f"The hub does not reply ({self.route.troubles()}), so nothing has changed. To send nothing more, stop the "
                "trainer. Try again later."
            ) from None
        if response.status_code != httpx.codes.OK:
            raise UserError(f"The hub at {self.route.hub} rejected the request: {rejection_message(response)}")
        return len(response.request.content)
