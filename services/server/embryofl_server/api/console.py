"""The control API's part for the console: the whole state in one cheap call, with a version; one clinic's record; the
audit log, which is for auditors and coordinators."""

import hashlib
import json
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response

from embryofl_server.api.deps import CurrentHub, auditing
from embryofl_server.api.status import clinic_record, roster, status
from embryofl_server.audit.reading import Filter, format_details, select_events, verify_log

MOST_ENTRIES = 500
PACE_ROUNDS = 5
_EVENT = ("time", "event", "person", "clinic", "run", "round", "state", "reason")
router = APIRouter()


@router.get("/state")
def state(hub: CurrentHub, if_none_match: Annotated[str, Header()] = "") -> Response:
    """Everything the console shows; 304 while it is unchanged."""
    now = hub.overview.now()
    everything = status(hub, now, newest=True)
    del everything["time"]
    pace = now.run.pace(PACE_ROUNDS) if now.run else None
    everything |= {
        "validated": now.run.validated if now.run else -1,  # whether there is something new in /control/courses
        "alerts": [alert._asdict() for alert in hub.alerts.firing(now)],
        "events": [_event(entry) for entry in reversed(hub.audit.newest)],
        "pace": {
            "round_s": round(pace.round_s, 3) if pace else 0.0,
            "rounds": pace.rounds if pace else 0,
            "last": pace.last if pace else 0.0,
        },
        "roster": roster(hub, now),
        "invites": [invite.to_dict() for invite in hub.store.invites()],
        "runs": [run.summary() for run in hub.views.all()],
    }
    everything["hub"] |= {
        "addresses": hub.contact.current().hubs,
        "version": version("embryofl-server"),
        "approval": "manual" if hub.settings.by_hand else "auto",
        "certificate_names": hub.identity.gateway_names,
    }
    for clinic in [*everything["roster"], *everything["clinics"].values()]:
        del clinic["summary"]  # large; see /control/clinics/{name}
    for clinic in everything["roster"]:
        if clinic["online"]:
            clinic["last_seen"] = 0.0  # it is now, and would change each answer
    body = json.dumps(everything).encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if if_none_match == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return Response(body, media_type="application/json", headers={"ETag": tag})


def _event(entry: dict[str, Any]) -> dict[str, Any]:
    """What the first page says of an entry of the audit log."""
    return {key: entry.get(key, "") for key in _EVENT}


@router.get("/courses")
def courses(hub: CurrentHub) -> dict[str, Any]:
    """Validation metrics of the newest run, round by round."""
    run = hub.overview.now().run
    return run.courses() if run else {}


@router.get("/clinics/{name}")
def clinic(name: str, hub: CurrentHub) -> dict[str, Any]:
    return clinic_record(hub, name)


@router.get("/audit", dependencies=[Depends(auditing)])
def audit(
    hub: CurrentHub,
    event: Annotated[str, Query(max_length=60)] = "",
    clinic: Annotated[str, Query(max_length=60)] = "",
    run: Annotated[str, Query(max_length=60)] = "",
    since: Annotated[str, Query(max_length=40)] = "",
    last: Annotated[int, Query(ge=1, le=MOST_ENTRIES)] = 100,
) -> dict[str, Any]:
    """Entries of the audit log, and the kinds of event there are."""
    folder = hub.settings.state_dir
    entries = select_events(folder, Filter((event,) if event else (), clinic, run, since, last))
    kinds = sorted({str(e.get("event", "")) for e in select_events(folder, Filter())})
    lines = [
        {
            "line": e["line"],
            "time": e.get("time", 0.0),
            "event": str(e.get("event", "?")),
            "words": format_details(e)[:500],
        }
        for e in entries
    ]
    return {"entries": lines, "events": kinds}


@router.get("/audit/verify", dependencies=[Depends(auditing)])
def verify(hub: CurrentHub) -> dict[str, Any]:
    intact, message = verify_log(hub.settings.state_dir)
    return {"whole": intact, "words": message}
