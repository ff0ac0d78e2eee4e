"""What the coordinator is shown of hub, run and clinics, as JSON: the status, the list of clinics, one clinic's record, and
how the clinics' images differ."""

import time
from typing import Any

from embryofl.clinic_keys import fingerprint
from embryofl.data_statistics import deviations, others_of, pool
from embryofl.settings import RunSettings
from embryofl_server.api.second_person import waiting
from embryofl_server.hub import Hub
from embryofl_server.members.sessions import describe_addresses
from embryofl_server.monitor.notifier.state import notifier_status
from embryofl_server.monitor.overview import Moment
from embryofl_server.runs.metrics_seen import metrics_seen
from embryofl_server.runs.tallies import LAST_ROUNDS
from embryofl_server.runs.updates_seen import updates_seen
from embryofl_server.runs.view import RunView

TWICE = "its key is used in two places: was it copied?"
LAST_RUNS = 3
_PLACE = ("own", "others", "spread", "distance", "far", "words")


def run_info(run: RunView, *, newest: bool = False) -> dict[str, Any]:
    """A run's state, settings, note, what the hub sees of updates, metric lines: all, or only the `newest` of each kind."""
    lines = list(run.newest_lines().values()) if newest else run.lines()
    settings = run.settings.model_dump()
    return {
        "name": run.name,
        **run.state,
        "settings": settings,
        "updates": updates_seen(settings, run.state.get("round", 0)),
        "metrics": lines,
        "note": run.note,
    }


def status(hub: Hub, now: Moment, *, newest: bool = False) -> dict[str, Any]:
    """Hub, run (see `run_info`) and the clinics that are enrolled or suspended."""
    clinics = {}
    for name, c in now.members.items():
        detail = c.detail
        if c.twice:
            detail = f"{TWICE} ({describe_addresses(c.twice)})" + (f"; {detail}" if detail else "")
        clinics[name] = {
            "state": c.state,
            "detail": detail,
            "since": c.since,
            "enrolled": c.clinic.enrolled,
            "labelled": c.clinic.labelled,
            "metrics": c.clinic.metrics,
            "summary": c.clinic.summary,
        }
    settings = now.run.settings if now.run else RunSettings()
    releases = {name: c.clinic.metrics for name, c in now.members.items() if settings.takes(name)}
    others = {run.name: run.state["state"] for run in hub.views.all() if now.run is None or run.name != now.run.name}
    return {
        "time": time.time(),
        "hub": {
            "names": hub.settings.names,
            "port": hub.settings.public_port,
            **hub.authority.state(),
            "tunnel": hub.contact.tunnel(),
            "notifier": notifier_status(hub.settings.notifier_file),
            "requests": waiting(hub),
        },
        "run": run_info(now.run, newest=newest) if now.run else None,
        "queued": [name for name, state in others.items() if state == "queued"],
        "paused": [name for name, state in others.items() if state == "paused"],
        "progress": now.progress,
        "clinics": clinics,
        "metrics_seen": metrics_seen(releases, pooled_every=settings.pooled_every) if clinics else "",
        "to_approve": [name for name, c in now.clinics.items() if c.state == "waiting"],
    }


def roster(hub: Hub, now: Moment) -> list[dict[str, Any]]:
    """All clinics that ever joined, by name. Times are Unix time in seconds; `last_seen` 0 is never.

    A clinic has a key and no certificate of its own: `certificate` is the SHA-256 fingerprint of the hub's, which it
    trusts, and `certificate_expires` when that ends.
    """
    expires, shown = hub.identity.expires("gateway/gateway.crt"), hub.identity.fingerprint("gateway/gateway.crt")
    members = now.members
    return [
        {
            "name": name,
            "state": c.clinic.state,
            "online": c.online,
            "does": c.state if name in members else "",
            "since": c.clinic.since or c.clinic.enrolled,
            "reason": c.clinic.reason,
            "enrolled": c.clinic.enrolled,
            "last_seen": c.last_seen,
            "meaning": c.clinic.meaning,
            "version": c.clinic.program.version if c.clinic.program else "",
            "outdated": c.clinic.outdated,
            "labelled": c.clinic.labelled,
            "approved": c.clinic.approved,
            "patients": c.clinic.summary.get("patients"),
            "summary": c.clinic.summary,
            "metrics": c.clinic.metrics,
            "shows_metrics": c.clinic.shows_metrics,
            "key": fingerprint(c.clinic.public_key),
            "certificate": shown,
            "certificate_expires": expires,
        }
        for name, c in now.clinics.items()
    ]


def clinic_record(hub: Hub, name: str) -> dict[str, Any]:
    """What the hub knows of one clinic: its line of `roster`, `warnings`, `rounds` (newest first) and `link`.

    Raises
    ------
    UserError
        When there is no such clinic.
    """
    hub.store.clinic(name)
    now = hub.overview.now()
    line = next(c for c in roster(hub, now) if c["name"] == name)
    rounds = [r for run in reversed(hub.views.all()[-LAST_RUNS:]) for r in run.rounds_of(name)][:LAST_ROUNDS]
    places = image_statistics(hub)["clinics"].get(name, {}).get("places", {})
    warnings = [f"Its images are {place['words']}" for place in places.values() if place["far"]]
    if now.clinics[name].twice:
        warnings.insert(0, TWICE.capitalize())
    summary = {k: v for k, v in line.pop("summary").items() if k != "statistics"}
    return {**line, "summary": summary, "warnings": warnings, "rounds": rounds, "link": _speed(rounds)}


def image_statistics(hub: Hub) -> dict[str, Any]:
    """The clinics' pooled image statistics, and how each clinic compares with the others.

    Returns
    -------
    dict
        `all`: pooled over all clinics, None if none reported any. `clinics`: by name, the `statistics` reported on joining,
        and `places`: measure to own and others' mean, the others' spread, the distance in it, and a message; empty if too
        few others.
    """
    parts, clinics = hub.membership.statistics(), {}
    for name, reported in sorted(parts.items()):
        others = others_of(name, parts)
        compared = deviations(reported, others) if others else []
        clinics[name] = {
            "statistics": reported.model_dump(),
            "places": {p.measure: {key: getattr(p, key) for key in _PLACE} for p in compared},
        }
    return {"all": pool(list(parts.values())).model_dump() if parts else None, "clinics": clinics}


def _speed(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Bytes a second each way by the newest transfers (None: not measured), and reconnections."""
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
