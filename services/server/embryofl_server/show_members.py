"""Clinics and invites as text for a terminal, and the message that goes to a clinic."""

import time
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from embryofl_server.invite_lines import FOLDER, lines_to_run


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
        "Docker:",
        run["docker"],
        "",
        "Podman:",
        run["podman"],
        "",
        "Without containers (Linux, Python 3.11, pip install embryofl-clinic):",
        run["pip"],
    ]
    if manual:
        lines += ["", f"Then it waits for you: embryofl-server approve {name}"]
    return "\n".join(lines)


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
        patients = "" if c["patients"] is None else f", {c['patients']} patients"
        data = f"{c['labelled'] if c['labelled'] is not None else '?'} labelled ({c['meaning']}){patients}"
        table.add_row(c["name"], c["state"], _day(c["since"], "%Y-%m-%d"), seen, f"{data}\n{c['key']}")
        if c["reason"]:
            notes.append(Text(f"{c['name']} is {c['state']}: {c['reason']}"))
        if c["state"] == "waiting":
            notes.append(
                Text(f"{c['name']} waits for you: embryofl-server approve {c['name']} (or refuse {c['name']})")
            )
    expires = _day(clinics[0]["certificate_expires"], "%Y-%m-%d")
    return Group(table, *notes, Text(f"The gateway's certificate, which all trust, ends on {expires}.", style="dim"))


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
