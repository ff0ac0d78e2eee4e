"""Enrolment: the call that turns an invite into a membership."""

import logging
import threading
from typing import Any

import httpx

from embryofl.errors import UserError
from embryofl.invite import HUB_NAME, Invite
from embryofl.membership import Enrolment, proof_text
from embryofl.protocol import our_program
from embryofl.schema import Meaning
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.joining.route import Route
from embryofl_clinic.policy.sent import SentLog

log = logging.getLogger("embryofl.join")

RETRY_FIRST_S, RETRY_MOST_S = 0.5, 10.0


def enrol(
    identity: ClinicIdentity,
    invite: Invite,
    meaning: Meaning,
    summary: dict[str, Any],
    stop: threading.Event,
    sent: SentLog | None = None,
) -> JoinedHub:
    """Send key, proof, summary and secret; retries while the hub is away. What the hub accepted is noted in `sent`.

    Raises
    ------
    UserError
        When the hub rejects the clinic, with its reason, or `stop` is set.
    """
    request = Enrolment(
        name=invite.name,
        secret=invite.secret,
        public_key=identity.public_key,
        proof=identity.sign(proof_text(invite.name, invite.secret, identity.public_key)),
        meaning=meaning,
        program=our_program(),
        summary=summary,
    )
    delay, route = RETRY_FIRST_S, Route(invite)
    with route.client(20) as client:
        while True:
            try:
                response = client.post(f"https://{HUB_NAME}/v1/enrol", json=request.model_dump())
            except httpx.TransportError as exc:
                log.info("the hub does not reply (%s)", route.troubles() or exc)
            else:
                if response.status_code == httpx.codes.OK:
                    if sent:
                        sent.note("enrolment", len(response.request.content))
                    return _remember(identity, invite, route.hub, response)
                if response.status_code < 500:
                    raise UserError("C6", f"The hub at {route.hub} rejected this clinic: {rejection_message(response)}")
            log.info("trying the hub again in %.0f s", delay)
            if stop.wait(delay):
                raise UserError("C1", "Stopped before the clinic had joined.")
            delay = min(delay * 1.6, RETRY_MOST_S)


def _remember(identity: ClinicIdentity, invite: Invite, address: str, response: httpx.Response) -> JoinedHub:
    hubs = list(dict.fromkeys([address, *invite.hubs]))
    hub = JoinedHub(name=invite.name, hubs=hubs, ca=invite.ca, server_name=invite.server_name, issued=invite.issued)
    identity.remember(hub)
    if _field(response, "state") == "waiting":
        log.warning(
            "the hub has this clinic's key and data summary. The coordinator still has to approve it; the clinic then "
            "takes part automatically"
        )
    return hub


def rejection_message(response: httpx.Response) -> str:
    """The hub's reason, or ours."""
    reason = _field(response, "error")[:500]
    return reason or f"it replied with status {response.status_code}. Is the address that of an EmbryoFL gateway?"


def _field(response: httpx.Response, name: str) -> str:
    try:
        return str(response.json()[name])
    except (ValueError, KeyError, TypeError):
        return ""
