"""What a clinic asks and says by itself, from its own command line: how it stands, a new key, that it leaves."""

import time
from collections.abc import Callable
from typing import Any

import httpx

from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl.membership import KeyChange, LeaveRequest, MembershipStatus, key_change_text, leaving_text
from embryofl.schema import Strict
from embryofl_clinic.joining.enrol import refusal_words
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub, openssh, sign
from embryofl_clinic.joining.route import ANY, Route, addresses_of
from embryofl_clinic.joining.status import GONE, ask_status, gone_words
from embryofl_clinic.policy.rules import last_refusal, load_rules, rounds_today, shown_words, shows_metrics
from embryofl_clinic.policy.sent import SentLog
from embryofl_clinic.settings import ClinicSettings


def member(settings: ClinicSettings) -> tuple[ClinicIdentity, JoinedHub, Route]:
    """This clinic's key and hub, and the way there; nothing is made.

    Raises
    ------
    UserError
        When it has not joined one.
    """
    joined = (settings.identity_dir / "hub.json").exists() and (settings.identity_dir / "clinic.key").exists()
    identity = ClinicIdentity(settings.identity_dir) if joined else None
    membership = identity.membership if identity else None
    if identity is None or membership is None:
        raise UserError(
            f"This clinic has not joined a hub: {settings.state_dir} holds no membership. Expected the state folder of a "
            "clinic that has: name it with --state, or join with an invite first."
        )
    return identity, membership, Route(membership, settings.hubs)


def status(settings: ClinicSettings) -> dict[str, Any]:
    """How this clinic stands, JSON-able. The hub is asked; `state` is "" when it does not answer."""
    identity, membership, route = member(settings)
    found = ask_status(identity, membership, route, time.time(), shows=shows_metrics(settings.state_dir))
    alive = settings.state_dir / "alive"
    contact = alive.stat().st_mtime if alive.exists() else 0.0
    return {
        "name": found.name if found else membership.name,
        "hubs": route.hubs,
        "answers": route.hub if found else "",
        "trouble": route.troubles(),
        "key": identity.fingerprint,
        "running": time.time() - contact < 60,
        "contact": contact,
        "state": found.state if found else "",
        "since": found.since if found else 0.0,
        "reason": found.reason if found else "",
        "policy": load_rules(settings.state_dir).model_dump(),
        "rounds_today": rounds_today(settings.state_dir),
        "own_refusal": last_refusal(settings.state_dir),
        "refused": found.refused.model_dump() if found and found.refused else None,
    }


def status_lines(info: dict[str, Any]) -> list[str]:
    """The same in words."""
    lines = [f"Clinic {info['name']}, key {info['key']}", f"Hub at {', '.join(info['hubs'])}"]
    if not info["state"]:
        lines.append("The hub does not answer, or does not know this key. Is its address right, and does it run?")
        lines += [f"{words}." for words in info["trouble"].split("; ") if words]
        lines.append("At another address, which the coordinator knows: embryofl-clinic hub ADDRESS:PORT")
    elif info["state"] in GONE:
        standing = MembershipStatus(
            **{k: info[k] for k in ("state", "since", "reason")}, refused=None, time=0.0, name=info["name"]
        )
        lines.append(gone_words(standing))
    else:
        says = {
            "enrolled": "This clinic belongs to the federation and takes part.",
            "waiting": "This clinic waits for the coordinator's approval, and takes part by itself after that.",
            "suspended": f"This clinic is suspended: {info['reason'].rstrip('.')}. It takes part again when the "
            "coordinator says so.",
        }
        lines.append(says.get(info["state"], f"This clinic is {info['state']}."))
    contact = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info["contact"])) if info["contact"] else "never"
    lines.append(f"The trainer is {'connected' if info['running'] else 'not connected'}; last contact: {contact}.")
    lines.append("Own policy: " + ", ".join(_rule(k, v) for k, v in info["policy"].items()))
    lines.append(shown_words(info["policy"]["show_metrics"]))
    if info["own_refusal"]:
        o = info["own_refusal"]
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(o["time"]))
        lines.append(f"This clinic refused round {o['round']} of {o['run']} at {at}: {o['words']}.")
    if info["refused"]:
        r = info["refused"]
        lines.append(
            f"The hub did not take the answer of round {r['round']} of {r['run']} ({r['reason']}): {r['words']}."
        )
    return lines


def _rule(name: str, value: Any) -> str:
    return f"{name} = {value if value not in ('', []) else 'any' if name == 'models' else 'none'}"


def leave(settings: ClinicSettings) -> str:
    """Leave the federation for good; returns what to say.

    Raises
    ------
    UserError
        When the hub does not answer, or refuses.
    """
    identity, membership, route = member(settings)

    def request(now: float) -> LeaveRequest:
        return LeaveRequest(name=membership.name, asked=now, proof=identity.sign(leaving_text(membership.name, now)))

    SentLog(settings.state_dir).note("leaving", _say(identity, membership, route, "/v1/leave", request))
    return (
        f"{membership.name} has left: its key never works again, and the hub asks it nothing more. Now stop the trainer "
        "and remove its container and state volume. What it gave to earlier rounds stays in those models."
    )


def rotate_key(settings: ClinicSettings) -> str:
    """Change this clinic's key; returns what to say. A trainer that runs connects with the new one by itself.

    The new key is on disk before the hub hears of it, and takes the old one's place after the hub has said yes: cut off
    anywhere between, this is simply done again.

    Raises
    ------
    UserError
        When the hub does not answer, or refuses.
    """
    identity, membership, route = member(settings)
    key = identity.next_key()

    def request(now: float) -> KeyChange:
        text = key_change_text(membership.name, now, openssh(key))
        return KeyChange(
            name=membership.name,
            asked=now,
            public_key=openssh(key),
            proof=identity.sign(text),
            new_proof=sign(key, text),
        )

    before = identity.fingerprint
    SentLog(settings.state_dir).note("key", _say(identity, membership, route, "/v1/key", request))
    identity.adopt_next()
    return f"{membership.name} has a new key, {identity.fingerprint}. The old one, {before}, never works again."


def change_address(settings: ClinicSettings, addresses: str) -> str:
    """The hub is at other addresses (host:port, comma-separated): look whether it is, and keep them. Key and membership
    stay; a trainer that runs and cannot reach the hub goes there by itself. Returns what to say.

    Raises
    ------
    UserError
        When it is no address, or this hub does not answer there.
    """
    identity, membership, _ = member(settings)
    new = addresses_of(addresses)
    route = Route(membership.model_copy(update={"hubs": new}))
    if ask_status(identity, membership, route, time.time()) is None:
        raise UserError(
            f"This clinic's hub does not answer at {', '.join(new)}: {route.troubles() or 'it does not know this key'}. "
            "Nothing has changed."
        )
    identity.remember(membership.model_copy(update={"hubs": list(dict.fromkeys([*new, *membership.hubs]))}))
    return f"The hub answers at {route.hub}, which is kept. Key and membership stay as they are."


def apply_reconnect_invite(identity: ClinicIdentity, membership: JoinedHub, invite: Invite) -> str:
    """Take from a new invite where the hub is and whom to trust, if the hub there knows this clinic's key. Key and
    membership stay, and nothing is sent but the question how this clinic stands. Returns what to say.

    Raises
    ------
    UserError
        When nobody there knows this clinic; nothing has changed then.
    """
    route = Route(invite)
    found = ask_status(identity, membership.told(invite, route.hub), route, time.time())
    if found is None:
        raise UserError(
            f"This clinic has joined already, as {membership.name}, and the hub of this invite does not know it: "
            f"{route.troubles() or 'it answers, and its answer is no'}. Expected an invite of the same hub, made with "
            f"`embryofl-server invite {membership.name} --reconnect`. Nothing has changed. To join another hub, use an "
            "empty state folder."
        )
    if found.state in GONE:
        raise UserError(gone_words(found))
    identity.remember(membership.told(invite, route.hub))
    identity.note_used(invite.secret)
    return (
        f"The hub answers at {route.hub} and knows this clinic, as {found.name}. Its addresses and its "
        "authority are kept; key and membership stay as they are. A trainer that runs goes there by itself."
    )


def _say(
    identity: ClinicIdentity, membership: JoinedHub, route: Route, path: str, request: Callable[[float], Strict]
) -> int:
    """Tell the hub something; `request` makes it, given the hub's time. Returns how many bytes it was."""
    found = ask_status(identity, membership, route, time.time())
    body = request(found.time if found else time.time()).model_dump()
    try:
        with route.client(20) as client:
            response = client.post(f"https://{ANY}{path}", json=body)
    except (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError):
        raise UserError(
            f"The hub at {route.hub} broke off before it answered, so this may or may not have been done. Run it again: "
            "that does no harm."
        ) from None
    except httpx.TransportError:
        raise UserError(
            f"The hub does not answer ({route.troubles()}), so nothing has changed. Stopping the trainer is enough to send "
            "nothing more. Try again later."
        ) from None
    if response.status_code != httpx.codes.OK:
        raise UserError(f"The hub at {route.hub} says no: {refusal_words(response)}")
    return len(response.request.content)
