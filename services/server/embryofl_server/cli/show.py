"""The hub's status as text for a terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from embryofl import states
from embryofl.errors import with_code
from embryofl.texts import duration
from embryofl_server.cli.text import make_console, state_text, table, utc
from embryofl_server.report.numbers import clinic_label, day_label, number
from embryofl_server.runs.metrics_seen import describe_pool

__all__ = ["follow", "make_console", "print_status", "run_list", "status"]

Info = dict[str, Any]


def _auroc(line: Info | None) -> str:
    """AUROC with its 95 % interval, or why there is none."""
    if line is None or line.get("auroc") is None:
        return "withheld" if line and line.get("withheld") else "-"
    text = number(line["auroc"])
    if line.get("auroc_se"):
        low, high = (max(0.0, min(1.0, line["auroc"] + k * line["auroc_se"])) for k in (-1.96, 1.96))
        text += f" ({low:.2f} to {high:.2f})"
    return text


def _find(lines: list[Info], **fields: Any) -> Info:
    """The newest line with these fields; empty if there is none."""
    return next((x for x in reversed(lines) if all(x.get(k) == v for k, v in fields.items())), {})


def status(info: Info) -> RenderableType:
    """Run, round, each clinic's state and latest metrics, and what the hub is waiting for."""
    run, now = info["run"], info["progress"]
    under_way = run and run["state"] in states.UNDER_WAY
    parts: list[RenderableType] = []
    if run is None:
        parts.append(Text("No run yet."))
    else:
        head = Text.assemble(("Run ", "bold"), run["name"], "  ", state_text(states.RUN, run["state"]))
        head.append(f"  round {now['round'] or run['round']} of {run['settings']['rounds']}")
        if under_way and now["phase"] != "idle":
            head.append(f"  {states.PHASE[now['phase']]} for {duration(info['time'] - now['round_began'])}")
        parts.append(head)
        if run["reason"]:
            parts.append(Text(f"Reason: {run['reason']}", style="yellow"))
        if clinics := run["settings"]["clinics"]:
            parts.append(Text(f"Clinics of this run: {', '.join(clinics)}"))
        parts.append(Text(run["updates"]))
        parts.append(Text(info["metrics_seen"]))
    for state, note in (("queued", ""), ("paused", " (resume with: embryofl-server resume RUN)")):
        if info[state]:
            parts.append(Text(f"Also {state}{note}: {', '.join(info[state])}"))
    parts += [Text(line, style="yellow") for line in hub_lines(info["hub"], info["time"])]
    if info["to_approve"]:
        names = ", ".join(info["to_approve"])
        parts.append(
            Text(f"Awaiting approval: {names}. Run: embryofl-server approve NAME (or decline NAME)", style="yellow")
        )
    if under_way and now["waiting"]:
        parts.append(Text(_waiting(now["waiting"], info["time"])))
    parts.append(_clinics(info))
    return Group(*parts)


def run_list(runs: list[Info]) -> str:
    """One line per run."""
    lines = []
    for run in runs:
        s, state = run["settings"], states.label(states.RUN, run["state"])
        line = f"{run['name']}  {state:9} round {run['round']}/{s['rounds']}  {s['model']} {s['strategy']} seed {s['seed']}"
        lines.append(f"{line}  {run['reason']}".rstrip())
    return "\n".join(lines) or "No run yet. Start one: embryofl-server start"


def _waiting(waiting: Info, now: float) -> str:
    text = f"Waiting for {', '.join(waiting['for_']) or 'the hub itself'} for {duration(now - waiting['since'])}"
    if waiting["why"]:
        text += f" ({waiting['why']})"
    if waiting["until"]:
        text += f"; deadline in {duration(waiting['until'] - now)}: {waiting['then']}"
    return text


def _clinics(info: Info) -> RenderableType:
    lines = info["run"]["metrics"] if info["run"] else []
    shown = table("clinic", "state", "labelled", "train loss", "val. loss", "val. AUROC", "of round", "")
    for name, clinic in info["clinics"].items():
        validation = _find(lines, clinic=name, split="validation", day=None)
        shown.add_row(
            name,
            state_text(states.CLINIC, clinic["state"]),
            str(clinic["labelled"] or "-"),
            number(_find(lines, clinic=name, split="train").get("loss")),
            number(validation.get("loss")),
            _auroc(validation) if clinic["metrics"] == "own" or validation else "not released",
            str(validation.get("round", "-")),
            clinic["detail"],
        )
    if pooled := _find(lines, clinic="pooled", split="validation", day=None):
        shown.add_row(
            describe_pool(pooled["clinics"], len(info["clinics"])),
            "",
            "",
            "",
            number(pooled["loss"]),
            _auroc(pooled),
            str(pooled["round"]),
            "",
        )
    return shown


def hub_lines(hub: Info, now: float) -> Iterator[str]:
    """What needs attention in the hub itself: tunnel, signer, certificate, certificate authority. Nothing if all is well.

    Parameters
    ----------
    hub : dict
        `hub` of the status.
    now : float
        Unix time in seconds.
    """
    if (tunnel := hub["tunnel"]) and tunnel["up"]:
        line = f"Remote access at {tunnel['address']}"
        if tunnel["before"]:
            line += (
                f" (was {tunnel['before']}; connected clinics have switched, a clinic that only knows the old address "
                f"runs: embryofl-clinic hub {tunnel['address']})"
            )
        yield line
    elif tunnel:
        yield f"No tunnel: {tunnel['words']} The local network is not affected."
    if (notifier := hub.get("notifier")) and not notifier["up"]:
        yield f"Nobody is notified: {notifier['words']}"
    if hub.get("signer"):
        yield hub["signer"]
    for asked in hub.get("requests", []):
        yield (
            f"Request {asked['number']} of {asked['person']} waits for a second person: {asked['what']}. "
            f"embryofl-server --as NAME confirm {asked['number']} (or withdraw-request {asked['number']})"
        )
    if hub.get("rotating"):
        missing = ", ".join(hub["missing"])
        yield (
            f"The certificate authority is being replaced; clinics without the new one: {missing}"
            if missing
            else "All clinics have the new certificate authority. Run: embryofl-server rotate-ca --finish"
        )
    for key, what in (("certificate_ends", "gateway's certificate"), ("authority_ends", "hub's certificate authority")):
        if hub.get(key) and hub[key] < now:
            yield with_code("H5", f"The {what} expired on {utc(hub[key], '%d %B %Y')}.")


def results(run: Info) -> RenderableType:
    """The final model on test patients, per clinic and day, from a run's metric lines."""
    lines = [x for x in run["metrics"] if x["split"] == "test"]
    title = f"{run['name']}: the final model on test patients, AUROC with 95 % interval"
    shown = table(
        "clinic", "day", "embryos", "label 1", "AUROC", "AUPRC", "Brier", "ECE", "sens.", "spec.", title=title
    )
    for x in sorted(lines, key=lambda x: x["clinic"] == "pooled"):
        if x["day"] is None and x["clinic"] != "pooled":
            continue
        shown.add_row(
            clinic_label(x["clinic"]),
            "all" if x["day"] is None else day_label(str(x["day"])),
            str(x["n"] or "-"),
            str(x["positives"]) if x["n"] else "",
            _auroc(x),
            *(number(x[key]) for key in ("auprc", "brier", "ece", "sensitivity", "specificity")),
        )
    threshold = f"Sens. and spec. at a score of {number(lines[0]['threshold'])}. " if lines else ""
    notes = (
        "A clinic's day with fewer than 5 embryos of a label is withheld and not part of 'all clinics'. Metrics over all "
        "days mostly reflect the day, so compare within a day. Intervals treat embryos as independent. "
        f"{threshold}All results: embryofl-server results, and model-card.html next to the model. "
        "Research use only: not a medical device."
    )
    return Group(shown, Text(notes, style="dim"))


def print_status(console: Console, info: Info) -> None:
    """Status, and the results when the newest run is finished."""
    console.print(status(info))
    if info["run"] and info["run"]["state"] == "finished":
        console.print()
        console.print(results(info["run"]))


def follow(console: Console, fetch: Callable[[], Info], seconds: float = 1.0) -> Info:
    """Show progress until the newest run is over; returns the last status.

    On a terminal the status is redrawn in place; elsewhere a line is printed for each change that matters.
    """
    last = ""
    with Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else nullcontext() as live:
        while (run := (info := fetch())["run"]) and run["state"] not in states.OVER:
            if live is not None:
                live.update(status(info))
            elif (line := _one_line(info)) != last:
                console.print(line, soft_wrap=True, highlight=False)
                last = line
            time.sleep(seconds)
    return info


def _one_line(info: Info) -> str:
    run, now = info["run"], info["progress"]
    text = f"{run['name']} round {now['round']}/{run['settings']['rounds']} {states.PHASE[now['phase']].lower()}"
    if pooled := _find(run["metrics"], clinic="pooled", split="validation", day=None):
        text += f"; model of round {pooled['round']}: loss {number(pooled['loss'])}, AUROC {number(pooled['auroc'])}"
    if now["waiting"] and now["phase"] == "waiting":
        text += f"; {now['waiting']['why']}; missing: {', '.join(now['waiting']['for_']) or '-'}"
    return text
