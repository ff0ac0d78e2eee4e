"""Clinics and invites as text for a terminal, and the message that goes to a clinic."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from embryofl import states
from embryofl_server.cli.text import state_text, table, utc
from embryofl_server.members.invite_lines import FOLDER, lines_to_run
from embryofl_server.report.numbers import count, counts_by_day

_INVITE = """\
For {name}, to join once, until {until}. Send it so that only they can read it.
Replace {folder} with the folder of images, which is only read. Then run one of these lines:

Docker (once before: docker load -i embryofl-clinic.tar.gz):
{docker}

Podman (once before: podman load -i embryofl-clinic.tar.gz):
{podman}

Without containers (Linux, Python 3.11, EmbryoFL installed from source as in docs/joining.md):
{pip}

If they do not have the image, send it along: docker save embryofl-clinic | gzip > embryofl-clinic.tar.gz"""

_RECONNECT = """\
For {name}, which has joined before: the hub's address and its certificate authority. Key and membership stay as they are;
the invite is useless without that key. Run one of these lines next to the running trainer:

Docker:
docker exec -e EMBRYOFL_INVITE={code} embryofl embryofl-clinic join

Podman:
podman exec -e EMBRYOFL_INVITE={code} embryofl embryofl-clinic join

Without containers:
EMBRYOFL_INVITE={code} embryofl-clinic join --state embryofl-state"""


def invite_text(name: str, code: str, expires: float, *, manual: bool) -> str:
    """The message to a new clinic: one line for each way to run a trainer, complete but for the folder.

    Parameters
    ----------
    name, code : str
        The clinic's name and its invite code.
    expires : float
        Unix time in seconds.
    manual : bool
        Whether the coordinator still has to approve the clinic.
    """
    text = _INVITE.format(name=name, until=utc(expires, "%d %B %Y, %H:%M UTC"), folder=FOLDER, **lines_to_run(code))
    return f"{text}\n\nThen approve the clinic: embryofl-server approve {name}" if manual else text


def reconnect_text(name: str, code: str) -> str:
    """The message to a clinic that has joined before and no longer finds or trusts the hub."""
    return _RECONNECT.format(name=name, code=code)


def clinics_table(clinics: list[dict[str, Any]]) -> RenderableType:
    """One line per clinic."""
    if not clinics:
        return "No clinic yet. Invite one: embryofl-server invite NAME"
    shown = table("clinic", "state", "since", "last seen", "data, and fingerprint of the key")
    for column in shown.columns:
        column.no_wrap = column.header in ("state", "since", "last seen")
        column.overflow = "fold"
    notes = []
    for c in clinics:
        seen = "now" if c["online"] else utc(c["last_seen"]) if c["last_seen"] else "never"
        patients = "" if c["patients"] is None else f", {count(c['patients'])} patients"
        data = f"{c['labelled'] if c['labelled'] is not None else '?'} labelled ({c['meaning']}){patients}"
        for day, counts in counts_by_day(c["summary"]).items():
            data += f"; day {day}: {counts['1']} label 1, {counts['0']} label 0"
        if not c["shows_metrics"]:
            data += "\nits own metrics are hidden from other clinics"
        state = states.label(states.MEMBER, c["state"])
        since = utc(c["since"], "%Y-%m-%d")
        shown.add_row(c["name"], state_text(states.MEMBER, c["state"]), since, seen, f"{data}\n{c['key']}")
        if c["reason"]:
            notes.append(Text(f"{c['name']} is {state.lower()}: {c['reason']}"))
        if c["state"] == "waiting":
            notes.append(Text(f"To approve {c['name']}: embryofl-server approve {c['name']} (or decline {c['name']})"))
    expires = utc(clinics[0]["certificate_expires"], "%Y-%m-%d")
    certificate = (
        f"The gateway's certificate, which all clinics trust, expires on {expires}. SHA-256 {clinics[0]['certificate']}"
    )
    return Group(shown, *notes, Text(certificate, style="dim"))


def invites_table(invites: list[dict[str, Any]]) -> RenderableType:
    """One line per invite."""
    if not invites:
        return "No invite yet. Create one: embryofl-server invite NAME"
    shown = table("clinic", "state", "created", "expires", "")
    for i in invites:
        shown.add_row(
            i["name"], states.label(states.INVITE, i["state"]), utc(i["created"]), utc(i["expires"]), i["why"]
        )
    return Group(shown, Text("Withdraw an unused invite with: embryofl-server withdraw NAME", style="dim"))
