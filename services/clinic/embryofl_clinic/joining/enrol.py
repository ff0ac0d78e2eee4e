"""Joining: from an invite to a membership, through the gateway's enrolment call."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import httpx

from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl.membership import Enrolment, proof_text
from embryofl.schema import Meaning
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.joining.route import ANY, Route

log = logging.getLogger("embryofl.join")

RETRY_FIRST_S, RETRY_MOST_S = 0.5, 10.0


def enrol(
    identity: ClinicIdentity,
    invite: Invite,
    meaning: Meaning,
    summary: dict[str, Any],
    stop: threading.Event,
    on_sent: Callable[[int], None] = lambda size: None,
) -> JoinedHub:
    """Send key, proof, summary and secret; retries while the hub is away. `on_sent` is told how many bytes were taken.

    Raises
    ------
    UserError
        When the hub refuses, with its reason, or `stop` is set.
    """
    request = Enrolment(
        name=invite.name,
        secret=invite.secret,
        public_key=identity.public_key,
        proof=identity.sign(proof_text(invite.name, invite.secret, identity.public_key)),
        meaning=meaning,
        summary=summary,
    )
    delay, route = RETRY_FIRST_S, Route(invite)
    with route.client(20) as client:
        while True:
            try:
                response = client.post(f"https://{ANY}/v1/enrol", json=request.model_dump())
            except httpx.TransportError as exc:
                log.info("the hub does not answer (%s)", route.troubles() or exc)
            else:
                if response.status_code == httpx.codes.OK:
                    on_sent(len(response.request.content))
                    return _joined(identity, invite, route.hub, response)
                if response.status_code < 500:
                    raise UserError(f"The hub at {route.hub} does not let this clinic join: {refusal_words(response)}")
            log.info("the hub is tried again in %.0f s", delay)
            if stop.wait(delay):
                raise UserError("Stopped before the clinic had joined.")
            delay = min(delay * 1.6, RETRY_MOST_S)


def _joined(identity: ClinicIdentity, invite: Invite, hub: str, response: httpx.Response) -> JoinedHub:
    membership = JoinedHub(name=invite.name, **invite.model_dump(include={"hubs", "ca", "server_name"}))
    membership = membership.told(invite, hub)
    identity.remember(membership)
    if _state(response) == "waiting":
        log.warning(
            "the hub has the key and the data summary of this clinic, and the coordinator still has to approve it: it "
            "waits, and takes part by itself after that"
        )
    return membership


def _state(response: httpx.Response) -> str:
    try:
        return str(response.json()["state"])
    except (ValueError, KeyError, TypeError):
        return ""


def refusal_words(response: httpx.Response) -> str:
    """Why the hub said no, in its words or ours."""
    try:
        return str(response.json()["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return f"it answers {response.status_code}. Is the address that of an EmbryoFL gateway?"
