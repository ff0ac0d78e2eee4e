"""The hub's status and a run's results as text for a terminal."""

import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from embryofl_server.cli.show_hub import hub_words

WIDTH = 120  # columns where the output is not a terminal
_GOOD = {"done", "enrolled", "online", "finished"}
_BAD = {"refused", "failed", "late", "offline", "stopped", "suspended"}


def _style(state: str) -> str:
    return "green" if state in _GOOD else "red" if state in _BAD else "yellow"


def _seconds(value: float) -> str:
    value = max(0, int(value))
    if value < 120:
        return f"{value} s"
    return f"{value // 60} min" if value < 7200 else f"{value / 3600:.1f} h"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _auroc(line: dict[str, Any] | None) -> str:
    """AUROC with its 95 % interval, or why there is none."""
    if line is None or line.get("auroc") is None:
        return "too few" if line and line.get("withheld") else "-"
    text = f"{line['auroc']:.3f}"
    if line.get("auroc_se"):
        low, high = (max(0.0, min(1.0, line["auroc"] + k * line["auroc_se"])) for k in (-1.96, 1.96))
        text += f" ({low:.2f}-{high:.2f})"
    return text


def _find(lines: list[dict[str, Any]], **wanted: Any) -> dict[str, Any] | None:
    """The newest line with these fields."""
    return next((x for x in reversed(lines) if all(x.get(k) == v for k, v in wanted.items())), None)


def make_console() -> Console:
    """A console for status and results; wide enough for the tables in a log, too."""
    import sys

    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def status(info: dict[str, Any]) -> RenderableType:
    """Run, round, each clinic's state and last metrics, and what is being waited for."""
    run, now = info["run"], info["progress"]
    parts: list[RenderableType] = []
    lines = run["metrics"] if run else []
    if run is None:
        parts.append(Text("No run yet."))
    else:
        head = Text.assemble(("Run ", "bold"), run["name"], "  ", (run["state"], _style(run["state"])))
        head.append(f"  round {now['round'] or run['round']} of {run['settings']['rounds']}")
        if run["state"] in ("running", "waiting") and now["phase"] != "idle":
            head.append(f"  {now['phase']} for {_seconds(info['time'] - now['round_began'])}")
        parts.append(head)
        if run["reason"]:
            parts.append(Text(f"Reason: {run['reason']}", style="yellow"))
    for state, go_on in (("queued", "begin when their turn comes"), ("paused", "go on with: embryofl-server continue")):
        if info[state]:
            parts.append(Text(f"Also {state} ({go_on}): {', '.join(info[state])}"))
    parts += [Text(words, style="yellow") for words in hub_words(info["hub"], info["time"])]
    if info.get("to_approve"):
        names = ", ".join(info["to_approve"])
        parts.append(
            Text(f"Waiting for your approval: {names} (embryofl-server approve NAME, or refuse)", style="yellow")
        )
    waiting = now["waiting"] if run and run["state"] in ("running", "waiting") else None
    if waiting:
        names = ", ".join(waiting["for_"]) or "the hub itself"
        text = f"Waiting for {names}, since {_seconds(info['time'] - waiting['since'])}"
        if waiting["why"]:
            text += f" ({waiting['why']})"
        if waiting["until"]:
            text += f"; in {_seconds(waiting['until'] - info['time'])}: {waiting['then']}"
        parts.append(Text(text))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("clinic", "state", "labelled", "train loss", "val. loss", "val. AUROC", "of round", ""):
        table.add_column(column)
    for name, clinic in info["clinics"].items():
        loss = _find(lines, clinic=name, split="train")
        validation = _find(lines, clinic=name, split="validation", day=None)
        table.add_row(
            name,
            Text(clinic["state"], style=_style(clinic["state"])),
            str(clinic["labelled"] or "-"),
            _figure(loss["loss"] if loss else None),
            _figure(validation["loss"] if validation else None),
            _auroc(validation),
            str(validation["round"]) if validation else "-",
            clinic["detail"],
        )
    pooled = _find(lines, clinic="pooled", split="validation", day=None)
    if pooled:
        table.add_row("all clinics", "", "", "", _figure(pooled["loss"]), _auroc(pooled), str(pooled["round"]), "")
    parts.append(table)
    return Group(*parts)


def results(run: dict[str, Any]) -> RenderableType:
    """The final model on held-out patients, per clinic and day."""
    lines = [x for x in run["metrics"] if x["split"] == "test"]
    table = Table(
        title=f"{run['name']}: the final model on held-out patients (test), AUROC with 95 % interval",
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for column in ("clinic", "day", "embryos", "good", "AUROC", "AUPRC", "Brier", "ECE", "sens.", "spec."):
        table.add_column(column)
    order = [c for c in dict.fromkeys(x["clinic"] for x in lines) if c != "pooled"]
    for clinic in [*order, "pooled"]:
        for x in (x for x in lines if x["clinic"] == clinic):
            if x["day"] is None and clinic != "pooled":
                continue
            day = "all" if x["day"] is None else str(x["day"] or "?")
            table.add_row(
                "all clinics" if clinic == "pooled" else clinic,
                day,
                str(x["n"] or "<5 of a class"),
                str(x["positives"]) if x["n"] else "",
                _auroc(x),
                _figure(x["auprc"]),
                _figure(x["brier"]),
                _figure(x["ece"]),
                _figure(x["sensitivity"]),
                _figure(x["specificity"]),
            )
    notes = (
        "A clinic's day with fewer than 5 embryos of a class is not released ('too few'), and is missing in 'all "
        "clinics'. A figure over all days mostly measures the day. Intervals take embryos for independent. "
        f"{_threshold(lines)}All figures: embryofl-server results, and model-card.html beside the model. "
        "Research use only: not a medical device."
    )
    return Group(table, Text(notes, style="dim"))


def _threshold(lines: list[dict[str, Any]]) -> str:
    """The threshold of sensitivity and specificity, which is the same in all lines."""
    return f"Sens. and spec. at a score of {lines[0]['threshold']:.3f}. " if lines else ""


def print_status(console: Console, info: dict[str, Any]) -> None:
    """Status, and the results when the newest run is finished."""
    console.print(status(info))
    if info["run"] and info["run"]["state"] == "finished":
        console.print()
        console.print(results(info["run"]))


def follow(console: Console, fetch: Any, seconds: float = 1.0) -> dict[str, Any]:
    """Show progress until the newest run is over; returns the last status.

    On a terminal the status is redrawn in place; elsewhere a line is printed for each event that matters.
    """
    from rich.live import Live

    from embryofl_server.runs.log import OVER

    info: dict[str, Any] = fetch()
    if console.is_terminal:
        with Live(status(info), console=console, refresh_per_second=4, transient=True) as live:
            while info["run"] and info["run"]["state"] not in OVER:
                time.sleep(seconds)
                info = fetch()
                live.update(status(info))
        return info
    said = ""
    while info["run"] and info["run"]["state"] not in OVER:
        line = _one_line(info)
        if line != said:
            console.print(line, soft_wrap=True, highlight=False)
            said = line
        time.sleep(seconds)
        info = fetch()
    return info


def _one_line(info: dict[str, Any]) -> str:
    run, now = info["run"], info["progress"]
    text = f"{run['name']} round {now['round']}/{run['settings']['rounds']} {now['phase']}"
    pooled = _find(run["metrics"], clinic="pooled", split="validation", day=None)
    if pooled:
        text += f"; model of round {pooled['round']}: loss {_figure(pooled['loss'])}, AUROC {_figure(pooled['auroc'])}"
    if now["waiting"] and now["phase"] == "waiting":
        text += f"; {now['waiting']['why']}; missing: {', '.join(now['waiting']['for_']) or '-'}"
    return text
