"""The control API's part for the console: the whole state in one cheap call, with a version. Needs the control token."""

import hashlib
import json
from typing import Annotated

from fastapi import APIRouter, Header, Response

from embryofl.models import model_names
from embryofl_server.hub import HubService
from embryofl_server.results import POOLED
from embryofl_server.roster import roster
from embryofl_server.strategies import strategy_names


def routes(hub: HubService) -> APIRouter:
    """The routes; whoever includes them sees to the token."""
    router = APIRouter(prefix="/control")
    curve: tuple[object, list[list[object]]] = (None, [])

    @router.get("/state")
    def state(if_none_match: Annotated[str, Header()] = "") -> Response:
        nonlocal curve
        found = hub.status(newest=True)
        del found["time"]
        run = hub.runs.current()
        if run is not None and run.metrics_file.exists():
            stat = run.metrics_file.stat()
            key = (run.name, stat.st_size, stat.st_mtime_ns)
            if curve[0] != key:
                lines = [x for x in run.metrics() if x["split"] == "validation" and x["day"] is None]
                points = [[x["clinic"], x["round"], x["auroc"], x["loss"]] for x in lines]
                curve = (key, [p for p in points if p[0] == POOLED or p[2] is not None])
            found["curve"] = curve[1]
        else:
            found["curve"] = []
        found["roster"] = roster(hub)
        for clinic in found["roster"]:
            if clinic["online"]:
                clinic["last_seen"] = 0.0  # it is now, and would change each answer
        found["invites"] = [i.to_dict() for i in hub.store.invites()]
        found["runs"] = [{"name": r.name, **r.state} for r in hub.runs.all()]
        found["offers"] = {"models": model_names(), "strategies": strategy_names()}
        body = json.dumps(found).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if if_none_match == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(body, media_type="application/json", headers={"ETag": tag})

    return router
