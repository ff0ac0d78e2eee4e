"""A member's own commands: its status, a new key, another address, a reconnect invite, leaving."""

import time
from pathlib import Path
from typing import Any

from embryofl.clinic_keys import authorities, openssh, sign
from embryofl.errors import UserError, with_code
from embryofl.invite import Invite
from embryofl.membership import KeyChange, LeaveRequest
from embryofl_clinic.joining.client import HubClient
from embryofl_clinic.joining.identity import KEY, ClinicIdentity, joined_hub
from embryofl_clinic.joining.route import addresses_of
from embryofl_clinic.joining.status import GONE, describe_state
from embryofl_clinic.policy.rules import describe_releasing, describe_showing, last_block, load_rules, rounds_today
from embryofl_clinic.policy.sent import SentLog
from embryofl_clinic.settings import ClinicSettings

CONNECTED_S = 60.0  # since the hub's last reply to the trainer, which sends a heartbeat every few seconds


def open_client(settings: ClinicSettings) -> HubClient:
    """This clinic's key and hub; nothing is created.

    Raises
    ------
    UserError
        When the clinic has not joined a hub.
    """
    hub = joined_hub(settings.identity_dir)
    if hub is None or not (settings.identity_dir / KEY).exists():
        raise UserError(
            "J8",
            f"This clinic has not joined a hub: {settings.state_dir} holds no membership. Expected the state folder of a "
            "clinic that has joined: name it with --state, or join with an invite first.",
        )
    return HubClient(ClinicIdentity(settings.identity_dir), hub, settings.state_dir, settings.hubs)


def last_contact(state_dir: Path) -> tuple[float, bool]:
    """When the hub last replied to this clinic's trainer (Unix time, 0.0: never), and whether they are still connected."""
    alive = state_dir / "alive"
    contact = alive.stat().st_mtime if alive.exists() else 0.0
    return contact, time.time() - contact < CONNECTED_S


def status(settings: ClinicSettings) -> dict[str, Any]:
    """This clinic's status, JSON-able. The hub is asked; `state` is "" when it does not reply."""
    client = open_client(settings)
    reply = client.ask_status()
    contact, connected = last_contact(settings.state_dir)
    return {
        "name": reply.name if reply else client.hub.name,
        "hubs": client.route.hubs,
        "answers": client.route.hub if reply else "",
        "trouble": client.route.troubles(),
        "rejected": client.rejected,
        "key": client.identity.fingerprint,
        "running": connected,
        "contact": contact,
        **(
            reply.model_dump(include={"state", "since", "reason"})
            if reply
            else {"state": "", "since": 0.0, "reason": ""}
        ),
        "policy": load_rules(settings.state_dir).model_dump(),
        "rounds_today": rounds_today(settings.state_dir),
        "own_refusal": last_block(settings.state_dir),
        "refused": reply.refused.model_dump() if reply and reply.refused else None,
    }


def status_lines(info: dict[str, Any]) -> list[str]:
    """The same for a person."""
    lines = [f"Clinic {info['name']}, key {info['key']}", f"Hub at {', '.join(info['hubs'])}"]
    if info["state"]:
        lines.append(describe_state(info["state"], info["reason"], info["since"]))
    elif info["rejected"]:
        lines.append(info["rejected"])
    else:
        text = (
            "The hub did not reply, or does not recognise this key. Check the address, and ask the coordinator whether the "
            "hub is running."
        )
        lines.append(text if info["trouble"] else with_code("J4", text))
        lines += [f"{message}." for message in info["trouble"].split("; ") if message]
        lines.append("If the coordinator names another address: embryofl-clinic hub ADDRESS:PORT")
    contact = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info["contact"])) if info["contact"] else "never"
    lines.append(f"The trainer is {'connected' if info['running'] else 'not connected'}; last contact: {contact}.")
    lines.append("Policy: " + ", ".join(_rule(k, v) for k, v in info["policy"].items()))
    lines.append(describe_releasing(info["policy"]["metrics"]))
    lines.append(describe_showing(info["policy"]["show_metrics"]))
    if block := info["own_refusal"]:
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(block["time"]))
        text = f"This clinic's policy blocked round {block['round']} of {block['run']} at {at}: {block['words']}."
        lines.append(with_code("J9", text))
    if rejected := info["refused"]:
        lines.append(
            f"The hub rejected the reply of round {rejected['round']} of {rejected['run']} ({rejected['reason']}): "
            f"{rejected['words']}."
        )
    return lines


def _rule(name: str, value: Any) -> str:
    return f"{name} = {value if value not in ('', []) else 'any' if name == 'models' else 'none'}"


def leave(settings: ClinicSettings) -> str:
    """Leave the federation for good; returns a message for the user.

    Raises
    ------
    UserError
        When the hub does not reply, or rejects it.
    """
    client = open_client(settings)
    name, now = client.hub.name, client.hub_time()
    unsigned = LeaveRequest(name=name, asked=now, proof="")
    request = unsigned.model_copy(update={"proof": client.identity.sign(unsigned.text())})
    SentLog(settings.state_dir).note("leaving", client.post("/v1/leave", request))
    return (
        f"{name} has left: its key never works again, and the hub sends it no more requests. Now stop the trainer and "
        "remove its container and state volume. Its contributions to earlier rounds stay in those models."
    )


def rotate_key(settings: ClinicSettings) -> str:
    """Change this clinic's key; returns a message for the user. A running trainer reconnects with the new key.

    The new key is on disk before the hub receives it, and replaces the old one after the hub has accepted it: if
    interrupted anywhere between, this is simply done again.

    Raises
    ------
    UserError
        When the hub does not reply, or rejects it.
    """
    client = open_client(settings)
    name, identity, now = client.hub.name, client.identity, client.hub_time()
    before, key = identity.fingerprint, identity.next_key()
    oldest = authorities(client.hub.ca)[0]  # while the hub replaces its authority, some clinics know this one alone
    unsigned = KeyChange(name=name, asked=now, authority=oldest, public_key=openssh(key), proof="", new_proof="")
    text = unsigned.text()
    request = unsigned.model_copy(update={"proof": identity.sign(text), "new_proof": sign(key, text)})
    SentLog(settings.state_dir).note("key", client.post("/v1/key", request))
    identity.adopt_next()
    return f"{name} has a new key, {identity.fingerprint}. The old one, {before}, never works again."


def change_address(settings: ClinicSettings, addresses: str) -> str:
    """Move to other addresses of the hub (host:port, comma-separated), if it replies there. Key and membership stay; a
    running trainer that cannot reach the hub follows automatically. Returns a message for the user.

    Raises
    ------
    UserError
        When an address is not valid, or this hub does not reply there.
    """
    client, new = open_client(settings), addresses_of(addresses)
    moved = HubClient(client.identity, client.hub.model_copy(update={"hubs": new}), settings.state_dir)
    if moved.ask_status() is None:
        raise UserError(
            "J4",
            f"This clinic's hub does not reply at {', '.join(new)}: "
            f"{moved.route.troubles() or 'it does not recognise this key'}. Nothing has changed.",
        )
    hubs = list(dict.fromkeys([*new, *client.hub.hubs]))
    client.identity.remember(client.hub.model_copy(update={"hubs": hubs}))
    return f"The hub replies at {moved.route.hub}; this address is saved. Key and membership stay as they are."


def apply_reconnect_invite(settings: ClinicSettings, invite: Invite) -> str:
    """Save the hub's addresses and authority from a reconnect invite, if the hub there recognises this clinic's key. Key
    and membership stay, and only a status request is sent. Returns a message for the user.

    Raises
    ------
    UserError
        When the clinic is not recognised there; nothing has changed then.
    """
    present = open_client(settings)
    identity, hub = present.identity, present.hub
    client = HubClient(identity, hub.with_contact(invite, invite.hubs[0]), settings.state_dir)
    reply = client.ask_status()
    if reply is None:
        raise UserError(
            "J4",
            f"This clinic has already joined, as {hub.name}, and the hub of this invite does not recognise it: "
            f"{client.route.troubles() or 'it rejected the status request'}. Expected an invite of the same hub, made with "
            f"`embryofl-server invite {hub.name} --reconnect`. Nothing has changed. To join another hub, use an empty "
            "state folder.",
        )
    if reply.state in GONE:
        raise UserError("J7", describe_state(reply.state, reply.reason, reply.since))
    identity.remember(hub.with_contact(invite, client.route.hub))
    identity.note_used(invite.secret)
    return (
        f"The hub replies at {client.route.hub} and recognises this clinic as {reply.name}. Its addresses and certificate "
        "authority are saved; key and membership stay as they are. A running trainer follows automatically."
    )
