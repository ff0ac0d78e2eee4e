"""The control API's part for the console: the whole state in one cheap call, with a version; one clinic's record; the
audit log. Needs the control token."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from cryptography import x509
from fastapi import APIRouter, Header, Query, Response

from embryofl_server.audit.reading import Filter, chosen, details, verify_log
from embryofl_server.hub import Hub
from embryofl_server.members.roster import roster
from embryofl_server.runs.clinic_record import clinic_record
from embryofl_server.runs.live_run import LiveRun
from embryofl_server.runs.log import Run

MOST_ENTRIES = 500
_QUIET = {"round_s": 0.0, "rounds": 0, "last": 0.0}


class _Runs:
    """The runs for the state: their files are read again only when they change."""

    def __init__(self) -> None:
        self._live: LiveRun | None = None
        self._known: dict[str, tuple[int, dict[str, Any]]] = {}

    def live(self, run: Run | None) -> dict[str, Any]:
        """Curve and pace of the run that people mean."""
        if run is None:
            return {"curve": [], "pace": _QUIET}
        if self._live is None or self._live.run != run:
            self._live = LiveRun(run)
        self._live.refresh()
        return {"curve": self._live.curve, "pace": self._live.pace}

    def line(self, run: Run) -> dict[str, Any]:
        """A run's state, what it was made of, and whether it has results."""
        changed = (run.folder / "state.json").stat().st_mtime_ns
        if run.name not in self._known or self._known[run.name][0] != changed:
            settings = run.settings
            made = {key: getattr(settings, key) for key in ("model", "strategy", "rounds", "seed")}
            results = (run.folder / "results.json").exists()
            self._known[run.name] = changed, {"name": run.name, **run.state, **made, "results": results}
        return self._known[run.name][1]


class CertificateNames:
    """The names in a certificate's file, which is read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path, self._changed, self._names = path, 0, list[str]()

    def read(self) -> list[str]:
        """DNS names and addresses."""
        changed = self._path.stat().st_mtime_ns
        if changed != self._changed:
            found = x509.load_pem_x509_certificate(self._path.read_bytes())
            alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            self._names, self._changed = [str(name.value) for name in alternative], changed
        return self._names


def routes(hub: Hub) -> APIRouter:
    """The routes; whoever includes them sees to the token."""
    router = APIRouter(prefix="/control")
    runs, release = _Runs(), version("embryofl-server")
    names = CertificateNames(hub.identity.gateway / "gateway.crt")

    @router.get("/state")
    def state(if_none_match: Annotated[str, Header()] = "") -> Response:
        found = hub.status(newest=True)
        del found["time"]
        found |= runs.live(hub.runs.current())
        found["roster"] = roster(hub, found["clinics"])
        for clinic in [*found["roster"], *found["clinics"].values()]:
            del clinic["summary"]  # large; see /control/clinics/{name}
        for clinic in found["roster"]:
            if clinic["online"]:
                clinic["last_seen"] = 0.0  # it is now, and would change each answer
        found["invites"] = [i.to_dict() for i in hub.store.invites()]
        found["runs"] = [runs.line(r) for r in hub.runs.all()]
        found["hub"] |= {
            "addresses": hub.link().hubs,
            "version": release,
            "approval": hub.settings.approval,
            "certificate_names": names.read(),
        }
        body = json.dumps(found).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if if_none_match == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(body, media_type="application/json", headers={"ETag": tag})

    @router.get("/clinics/{name}")
    def clinic(name: str) -> dict[str, Any]:
        return clinic_record(hub, name)

    @router.get("/audit")
    def audit(
        event: Annotated[str, Query(max_length=60)] = "",
        clinic: Annotated[str, Query(max_length=60)] = "",
        run: Annotated[str, Query(max_length=60)] = "",
        since: Annotated[str, Query(max_length=40)] = "",
        last: Annotated[int, Query(ge=1, le=MOST_ENTRIES)] = 100,
    ) -> dict[str, Any]:
        folder = hub.settings.state_dir
        found = chosen(folder, Filter((event,) if event else (), clinic, run, since, last))
        kinds = sorted({str(e.get("event", "")) for e in chosen(folder, Filter())})
        lines = [
            {
                "line": e["line"],
                "time": e.get("time", 0.0),
                "event": str(e.get("event", "?")),
                "words": details(e)[:500],
            }
            for e in found
        ]
        return {"entries": lines, "events": kinds}

    @router.get("/audit/verify")
    def verify() -> dict[str, Any]:
        whole, words = verify_log(hub.settings.state_dir)
        return {"whole": whole, "words": words}

    return router
