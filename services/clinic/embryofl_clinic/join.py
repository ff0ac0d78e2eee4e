"""Joining: from an invite to a membership, through the gateway's enrolment call."""

import logging
import socket
import ssl
import threading
from typing import Any

import httpx

from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl.messages import Enrolment, Meaning, proof_text
from embryofl_clinic.identity import Identity, Membership

log = logging.getLogger("embryofl.join")

RETRY_FIRST_S, RETRY_MOST_S = 0.5, 10.0


def tls_context(ca: str) -> ssl.SSLContext:
    """Trust this hub's authority and nobody else."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def choose_address(hubs: list[str], ca: str, stop: threading.Event) -> str:
    """The first of a hub's addresses (host:port) where that hub answers; waits until one does, or `stop` is set."""
    if len(hubs) == 1:
        return hubs[0]
    delay, context = RETRY_FIRST_S, tls_context(ca)
    while True:
        for hub in hubs:
            host, _, port = hub.rpartition(":")
            try:
                with (
                    socket.create_connection((host, int(port)), timeout=10) as connection,
                    context.wrap_socket(connection, server_hostname=host),
                ):
                    return hub
            except OSError as exc:  # also when somebody else answers there
                log.info("the hub at %s cannot be reached (%s)", hub, exc)
        log.info("the hub is tried again in %.0f s", delay)
        if stop.wait(delay):
            return hubs[0]
        delay = min(delay * 1.6, RETRY_MOST_S)


def join(
    identity: Identity, invite: Invite, meaning: Meaning, summary: dict[str, Any], stop: threading.Event
) -> Membership:
    """Send key, proof, summary and secret; retries while the hub is away.

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
    delay, context = RETRY_FIRST_S, tls_context(invite.ca)
    while True:
        for hub in invite.hubs:
            try:
                with httpx.Client(verify=context, timeout=20, trust_env=False) as client:
                    response = client.post(f"https://{hub}/v1/enrol", json=request.model_dump())
            except httpx.TransportError as exc:
                log.info("the hub at %s cannot be reached (%s)", hub, exc)
                continue
            if response.status_code == httpx.codes.OK:
                membership = Membership(
                    name=invite.name, hubs=[hub, *(h for h in invite.hubs if h != hub)], ca=invite.ca
                )
                identity.remember(membership)
                if _state(response) == "waiting":
                    log.warning(
                        "the hub has the key and the data summary of this clinic, and the coordinator still has to approve "
                        "it: it waits, and takes part by itself after that"
                    )
                return membership
            if response.status_code < 500:
                raise UserError(f"The hub at {hub} does not let this clinic join: {refusal_words(response)}")
        log.info("the hub is tried again in %.0f s", delay)
        if stop.wait(delay):
            raise UserError("Stopped before the clinic had joined.")
        delay = min(delay * 1.6, RETRY_MOST_S)


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
