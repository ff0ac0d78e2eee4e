"""What the hub knows of one clinic: what it told of its data, warnings, its last rounds, and how good its line is."""

import json
from typing import TYPE_CHECKING, Any

from embryofl_server.members.image_statistics import image_statistics
from embryofl_server.members.roster import roster
from embryofl_server.runs.jsonlines import JsonLines
from embryofl_server.runs.log import Run

if TYPE_CHECKING:
    from embryofl_server.hub import Hub

LAST_ROUNDS, LAST_RUNS = 12, 3


def clinic_record(hub: "Hub", name: str) -> dict[str, Any]:
    """JSON-able: the line of `roster`, `warnings`, `rounds` (newest first) and `link`.

    Raises
    ------
    UserError
        When there is no such clinic.
    """
    hub.store.clinic(name)
    found = next(c for c in roster(hub) if c["name"] == name)
    rounds = [r for run in reversed(hub.runs.all()[-LAST_RUNS:]) for r in _rounds(run, name)][:LAST_ROUNDS]
    told = image_statistics(hub.membership.statistics())["clinics"].get(name, {}).get("places", {})
    warnings = [f"Its images are {place['words']}" for place in told.values() if place["far"]]
    if name in hub.membership.sessions.twice():
        warnings.insert(0, "Its key is used in two places: was it copied?")
    summary = {k: v for k, v in found.pop("summary").items() if k != "statistics"}
    return {**found, "summary": summary, "warnings": warnings, "rounds": rounds, "link": _link(rounds)}


def _rounds(run: Run, name: str) -> list[dict[str, Any]]:
    """A clinic's rounds of a run, newest first: what it answered, or why not."""
    size = _size_of(run)
    found: dict[int, dict[str, Any]] = {}
    for event in JsonLines(run.folder / "events.jsonl").read()[1]:
        if event.get("kind") == "refused" and event.get("clinic") == name:
            found[event["round"]] = {
                "result": "late" if event["reason"] == "late" else "refused",
                "words": str(event.get("words", ""))[:300],
            }
    for line in run.metrics():
        if line.get("split") == "train" and line.get("clinic") == name:
            spent = line.get("seconds") or {}
            found[line["round"]] = {
                "result": "done",
                "words": "",
                "seconds": spent,
                "answer_s": sum(spent.values()),
                "examples": line["n"],
                "loss": line.get("loss"),
                "device": line.get("device", ""),
                "reconnects": line.get("reconnects", 0),
                "down": size,
                "up": size,
            }
    return [{"run": run.name, "round": number, **found[number]} for number in sorted(found, reverse=True)]


def _size_of(run: Run) -> int:
    """Bytes of the run's model; 0 before there is one."""
    weights = run.folder / "model.safetensors"
    if weights.exists():
        return weights.stat().st_size
    records = sorted(run.folder.glob("round-*.json"))
    return int(json.loads(records[-1].read_text()).get("size", 0)) if records else 0


def _link(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The line by the newest transfers: bytes a second each way (None: not measured), and reconnections."""
    done = [r for r in rounds if r["result"] == "done"]

    def rate(way: str, phase: str) -> float | None:
        spent = [(r[way], r["seconds"].get(phase, 0.0)) for r in done if r["seconds"].get(phase, 0.0) > 0 and r[way]]
        seconds = sum(s for _, s in spent)
        return sum(b for b, _ in spent) / seconds if seconds else None

    return {
        "down_rate": rate("down", "download"),
        "up_rate": rate("up", "upload"),
        "reconnects": done[0]["reconnects"] if done else None,
    }
