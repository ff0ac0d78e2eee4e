"""The control API's part about clinics: invites, approval, suspension, revocation, names. Needs the control token."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel, Field

from embryofl_server.hub import Hub
from embryofl_server.members.image_statistics import image_statistics
from embryofl_server.members.invite_lines import lines_to_run
from embryofl_server.members.roster import roster

By = Annotated[str, Header(alias="x-embryofl-by", max_length=100)]
"""Who steers, for the audit log: what the holder of the control token says of itself."""


class Invited(BaseModel):
    """A clinic to be, and for how many days its invite is good (0: what is usual here); `again`: it has joined before."""

    name: str
    days: float = Field(default=0, ge=0, le=366)
    again: bool = False


class ClinicName(BaseModel):
    """A clinic, and why something is done with it."""

    name: str
    reason: str = Field(default="", max_length=300)


class Renamed(BaseModel):
    """A clinic and its new name."""

    name: str
    to: str


class NewAuthority(BaseModel):
    """Begin to change the hub's authority, or `finish` it, `without` the clinics that may be left behind."""

    finish: bool = False
    without: list[str] = Field(default=[], max_length=1000)


def routes(hub: Hub) -> APIRouter:
    """The routes; whoever includes them sees to the token."""
    router, door = APIRouter(prefix="/control"), hub.membership

    @router.post("/invites")
    def invite(request: Invited, by: By = "") -> dict[str, Any]:
        if request.again:
            return {"invite": door.invite_again(request.name, by).word(), "expires": 0.0, "manual": False}
        word = door.invite(request.name, by, request.days).word()
        expires = max(i.expires for i in hub.store.invites() if i.name == request.name and i.state == "open")
        manual = hub.settings.approval == "manual"
        return {"invite": word, "expires": expires, "manual": manual, "lines": lines_to_run(word)}

    @router.get("/invites")
    def invites() -> list[dict[str, Any]]:
        return [i.to_dict() for i in hub.store.invites()]

    @router.post("/invites/withdraw")
    def withdraw(request: ClinicName, by: By = "") -> dict[str, str]:
        door.withdraw_invite(request.name, by)
        return {"state": "withdrawn"}

    @router.get("/clinics")
    def clinics() -> list[dict[str, Any]]:
        return roster(hub)

    @router.get("/statistics")
    def statistics() -> dict[str, Any]:
        return image_statistics(door.statistics())

    @router.post("/suspend")
    def suspend(request: ClinicName, by: By = "") -> dict[str, Any]:
        return {"state": door.suspend(request.name, request.reason or "Suspended by the coordinator.", by).state}

    @router.post("/resume")
    def resume(request: ClinicName, by: By = "") -> dict[str, Any]:
        return {"state": door.resume(request.name, by).state}

    @router.post("/revoke")
    def revoke(request: ClinicName, by: By = "") -> dict[str, Any]:
        return {"state": door.revoke(request.name, request.reason or "Revoked by the coordinator.", by).state}

    @router.post("/rename")
    def rename(request: Renamed, by: By = "") -> dict[str, Any]:
        hub.rename(request.name, request.to, by)
        return {"name": request.to}

    @router.post("/approve")
    def approve(request: ClinicName, by: By = "") -> dict[str, Any]:
        return {"state": door.approve(request.name, by).state}

    @router.post("/refuse")
    def refuse(request: ClinicName, by: By = "") -> dict[str, Any]:
        return {"state": door.refuse(request.name, request.reason or "Refused by the coordinator.", by).state}

    @router.post("/authority")
    def authority(request: NewAuthority, by: By = "") -> dict[str, Any]:
        change = hub.authority
        return change.finish(by, request.without) if request.finish else change.begin(by)

    return router
