"""Clinics, invites and image statistics as text for a terminal, and the message that goes to a clinic."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from embryofl import states
from embryofl.texts import load_texts
from embryofl_server.cli.text import state_text, table, utc
from embryofl_server.members.invite_lines import FOLDER, lines_to_run
from embryofl_server.report.numbers import count, counts_by_day

TEXTS = load_texts(__package__)
_BLOCKS = " ▁▂▃▄▅▆▇█"


def invite_text(name: str, code: str, expires: float, *, manual: bool) -> str:
    """The message to a new clinic: one line for each way to run a trainer, complete but for the folder, and the code.

    Parameters
    ----------
    name, code : str
        The clinic's name and its invite code.
    expires : float
        Unix time in seconds.
    manual : bool
        Whether the coordinator still has to approve the clinic.
    """
    text = TEXTS.invite.format(
        name=name, until=utc(expires, "%d %B %Y, %H:%M UTC"), folder=FOLDER, code=code, **lines_to_run()
    )
    return f"{text}\n\nThen approve the clinic: embryofl-server approve {name}" if manual else text


def reconnect_text(name: str, code: str) -> str:
    """The message to a clinic that has joined before and no longer finds or trusts the hub."""
    return str(TEXTS.reconnect.format(name=name, code=code))


def clinics_table(clinics: list[dict[str, Any]]) -> RenderableType:
    """One line per clinic."""
    if not clinics:
        return "No clinic yet. Invite one: embryofl-server invite NAME"
    shown = table("clinic", "state", "since", "last seen", "version", "data, and fingerprint of the key")
    for column in shown.columns:
        column.no_wrap = column.header in ("state", "since", "last seen", "version")
        column.overflow = "fold"
    notes = []
    for c in clinics:
        seen = "now" if c["online"] else utc(c["last_seen"]) if c["last_seen"] else "never"
        data = describe_data(c)
        if c["approved"] not in (None, c["labelled"]):
            data += f"; {c['approved']} labelled approved"
        if c["metrics"] != "own":
            data += f"\nits own metrics are not released to the hub (metrics = {c['metrics']})"
        elif not c["shows_metrics"]:
            data += "\nits own metrics are hidden from other clinics"
        state = states.label(states.MEMBER, c["state"])
        since = utc(c["since"], "%Y-%m-%d")
        shown.add_row(
            c["name"], state_text(states.MEMBER, c["state"]), since, seen, c["version"] or "?", f"{data}\n{c['key']}"
        )
        if c["reason"]:
            notes.append(Text(f"{c['name']} is {state.lower()}: {c['reason']}"))
        if c["outdated"]:
            notes.append(Text(f"{c['name']} takes no part: {c['outdated']}"))
        if c["state"] == "waiting":
            notes.append(Text(f"To approve {c['name']}: embryofl-server approve {c['name']} (or decline {c['name']})"))
    expires = utc(clinics[0]["certificate_expires"], "%Y-%m-%d")
    certificate = (
        f"The gateway's certificate, which all clinics trust, expires on {expires}. SHA-256 {clinics[0]['certificate']}"
    )
    return Group(shown, *notes, Text(certificate, style="dim"))


def describe_data(clinic: dict[str, Any]) -> str:
    """What a clinic of `/control/clinics` reported of its data on joining."""
    patients = "" if clinic["patients"] is None else f", {count(clinic['patients'])} patients"
    data = f"{clinic['labelled'] if clinic['labelled'] is not None else '?'} labelled ({clinic['meaning']}){patients}"
    for day, counts in counts_by_day(clinic["summary"]).items():
        data += f"; day {day}: {counts['1']} label 1, {counts['0']} label 0"
    return data


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


def statistics_table(statistics: dict[str, Any]) -> RenderableType:
    """Per measure: all images (mean, standard deviation, histogram), and each clinic's mean; clinics that differ are noted.

    Parameters
    ----------
    statistics : dict
        As `/control/statistics` returns it.
    """
    if not statistics["all"]:
        return "No clinic has reported image statistics yet."
    pooled, clinics = statistics["all"], statistics["clinics"]
    shown = table("measure", f"all {pooled['images']} images", "histogram", *clinics)
    shown.columns[2].no_wrap = True
    notes = []
    for measure, spread in pooled["measures"].items():
        cells = [measure, f"{spread['mean']:.3g} ± {spread['variance'] ** 0.5:.2g}", bars(spread["bins"])]
        for name, clinic in clinics.items():
            cell = f"{clinic['statistics']['measures'][measure]['mean']:.3g}"
            place = clinic["places"].get(measure)
            if place and place["far"]:
                cell += f" ({place['distance']:+.1f})"
                notes.append(Text(f"{name}: {measure} {place['words']}"))
            cells.append(cell)
        shown.add_row(*cells)
    counts = ", ".join(f"{name} {clinic['statistics']['images']}" for name, clinic in clinics.items())
    notes.append(
        Text(f"Images: {counts}. In brackets: standard deviations from the other clinics' mean, if more than 1.", "dim")
    )
    return Group(shown, *notes)


def bars(counts: list[int]) -> str:
    """A histogram in one line of text."""
    most = max(*counts, 1)
    return "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // most)] for count in counts)
