"""Clinics and invites as text for a terminal, and the message that goes to a clinic."""

import time
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from embryofl.metrics import SMALLEST_COUNT
from embryofl_server.members.invite_lines import FOLDER, lines_to_run

_DAYS = {*map(str, range(15)), "unknown"}


def what_to_send(name: str, word: str, expires: float, *, manual: bool) -> str:
    """The message to a clinic: one line for each way to run it, in which the folder is all there is to fill in.

    Parameters
    ----------
    name, word : str
        Of the clinic, and its invite.
    expires : float
        Unix time in seconds.
    manual : bool
        Whether the coordinator still has to approve it.
    """
    run = lines_to_run(word)
    lines = [
        f"For {name}, to join once, until {_day(expires, '%d %B %Y, %H:%M UTC')}. Send it so that only they can read it.",
        f"Put the folder of images in the place of {FOLDER}; it is only read. One of these lines:",
        "",
        "Docker (once before: docker load -i embryofl-clinic.tar.gz):",
        run["docker"],
        "",
        "Podman (once before: podman load -i embryofl-clinic.tar.gz):",
        run["podman"],
        "",
        "Without containers (Linux, Python 3.11, EmbryoFL installed from its source as docs/joining.md says):",
        run["pip"],
    ]
    lines += [
        "",
        "The image, where they have none, goes with it: docker save embryofl-clinic | gzip > embryofl-clinic.tar.gz",
    ]
    if manual:
        lines += ["", f"Then it waits for you: embryofl-server approve {name}"]
    return "\n".join(lines)


def what_to_send_again(name: str, word: str) -> str:
    """The message to a clinic that has joined before: where the hub is found, and what is trusted, from now on."""
    return "\n".join(
        [
            f"For {name}, which has joined before: where the hub is, and which authority to trust. Its key and membership "
            "stay as they are; without that key it is worth nothing. One of these lines, beside the trainer that runs:",
            "",
            "Docker:",
            f"docker exec -e EMBRYOFL_INVITE={word} embryofl embryofl-clinic join",
            "",
            "Podman:",
            f"podman exec -e EMBRYOFL_INVITE={word} embryofl embryofl-clinic join",
            "",
            "Without containers:",
            f"EMBRYOFL_INVITE={word} embryofl-clinic join --state embryofl-state",
        ]
    )


def clinics_table(clinics: list[dict[str, Any]]) -> RenderableType:
    """One line a clinic."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("clinic", overflow="fold")
    for column in ("state", "since", "last seen"):
        table.add_column(column, no_wrap=True)
    table.add_column("data, and fingerprint of the key", overflow="fold")
    notes = []
    for c in clinics:
        seen = "now" if c["online"] else _day(c["last_seen"], "%Y-%m-%d %H:%M") if c["last_seen"] else "never"
        patients = "" if c["patients"] is None else f", {_count(c['patients'])} patients"
        data = f"{c['labelled'] if c['labelled'] is not None else '?'} labelled ({c['meaning']}){patients}"
        data += _days(c["summary"])
        if not c["shows_metrics"]:
            data += "\nits figures on their own are not for others"
        table.add_row(c["name"], c["state"], _day(c["since"], "%Y-%m-%d"), seen, f"{data}\n{c['key']}")
        if c["reason"]:
            notes.append(Text(f"{c['name']} is {c['state']}: {c['reason']}"))
        if c["state"] == "waiting":
            notes.append(
                Text(f"{c['name']} waits for you: embryofl-server approve {c['name']} (or refuse {c['name']})")
            )
    expires = _day(clinics[0]["certificate_expires"], "%Y-%m-%d")
    certificate = f"The gateway's certificate, which all trust, ends on {expires}. SHA-256 {clinics[0]['certificate']}"
    return Group(table, *notes, Text(certificate, style="dim"))


def _days(summary: dict[str, Any]) -> str:
    """`; day 5: 40 good, 60 other`, of what a clinic told of its data; whatever else it wrote there is left out."""
    counts = summary.get("counts")
    if not isinstance(counts, dict):
        return ""
    rows = [(day, n) for day, n in counts.items() if isinstance(n, dict) and day in _DAYS]
    return "".join(f"; day {day}: {_count(n.get('1', 0))} good, {_count(n.get('0', 0))} other" for day, n in rows)


def _count(value: object) -> str:
    return str(value) if type(value) is int or value == f"<{SMALLEST_COUNT}" else "?"


def invites_table(invites: list[dict[str, Any]]) -> RenderableType:
    """One line an invite."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("clinic", "state", "made", "expires", ""):
        table.add_column(column)
    for i in invites:
        table.add_row(i["name"], i["state"], _day(i["created"]), _day(i["expires"]), i["why"])
    return Group(table, Text("Take one back with: embryofl-server withdraw NAME", style="dim"))


def _day(moment: float, form: str = "%Y-%m-%d %H:%M") -> str:
    return time.strftime(form, time.gmtime(moment))
