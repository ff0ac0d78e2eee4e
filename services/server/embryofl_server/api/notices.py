"""The control API's one route for the notifier, whose token opens no other."""

from fastapi import APIRouter

from embryofl_server.api.deps import CurrentHub
from embryofl_server.monitor.notices import Notice, notices

router = APIRouter()


@router.get("/notices")
def list_notices(hub: CurrentHub) -> list[Notice]:
    now = hub.overview.now()
    return notices(now, hub.alerts.firing(now), hub.views.all())
