"""The control API's part about clinics: invites, approval, suspension, revocation, names. For people by their roles."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from embryofl.membership import MAX_COUNT
from embryofl_server.api import second_person
from embryofl_server.api.deps import By, CurrentCaller, CurrentHub
from embryofl_server.api.status import image_statistics, roster
from embryofl_server.members.invite_lines import lines_to_run

router = APIRouter()


class Invited(BaseModel):
    """A clinic to invite, and days until the invite expires (0: the default). `again`: a reconnect invite. `local`: for a
    clinic that is started on this machine."""

    name: str
    days: float = Field(default=0, ge=0, le=366)
    again: bool = False
    local: bool = False


class ClinicName(BaseModel):
    """A clinic, and the reason for what is done."""

    name: str
    reason: str = Field(default="", max_length=300)


class Approval(BaseModel):
    """A clinic to approve, and its labelled images as the coordinator confirms them; None: those that it reported."""

    name: str
    images: int | None = Field(default=None, ge=1, le=MAX_COUNT)


class Renamed(BaseModel):
    """A clinic and its new name."""

    name: str
    to: str


class NewAuthority(BaseModel):
    """Begin to replace the hub's certificate authority, or `finish`, `without` the clinics that may be left behind."""

    finish: bool = False
    without: list[str] = Field(default=[], max_length=1000)


@router.post("/invites")
def invite(request: Invited, hub: CurrentHub, by: By) -> dict[str, Any]:
    if request.again:
        return {"invite": hub.membership.reconnect_invite(request.name, by).code(), "expires": 0.0, "manual": False}
    word = hub.membership.invite(request.name, by, request.days, local=request.local).code()
    expires = max(i.expires for i in hub.store.invites() if i.name == request.name and i.state == "open")
    manual = hub.settings.by_hand
    return {"invite": word, "expires": expires, "manual": manual, "lines": {**lines_to_run(), "code": word}}


@router.get("/invites")
def invites(hub: CurrentHub) -> list[dict[str, Any]]:
    return [i.to_dict() for i in hub.store.invites()]


@router.post("/invites/withdraw")
def withdraw(request: ClinicName, hub: CurrentHub, by: By) -> dict[str, str]:
    hub.membership.withdraw_invite(request.name, by)
    return {"state": "withdrawn"}


@router.get("/clinics")
def clinics(hub: CurrentHub) -> list[dict[str, Any]]:
    return roster(hub, hub.overview.now())


@router.get("/statistics")
def statistics(hub: CurrentHub) -> dict[str, Any]:
    return image_statistics(hub)


@router.post("/suspend")
def suspend(request: ClinicName, hub: CurrentHub, by: By) -> dict[str, Any]:
    return {"state": hub.membership.suspend(request.name, request.reason or "Suspended by the coordinator.", by).state}


@router.post("/resume")
def resume(request: ClinicName, hub: CurrentHub, by: By) -> dict[str, Any]:
    return {"state": hub.membership.reinstate(request.name, by).state}


@router.post("/revoke")
def revoke(request: ClinicName, hub: CurrentHub, by: By, who: CurrentCaller) -> dict[str, Any]:
    hub.store.member(request.name)
    second_person.require(hub, who, "revoke", request.model_dump())
    return {"state": hub.membership.revoke(request.name, request.reason or "Revoked by the coordinator.", by).state}


@router.post("/rename")
def rename(request: Renamed, hub: CurrentHub, by: By) -> dict[str, Any]:
    hub.rename(request.name, request.to, by)
    return {"name": request.to}


@router.post("/approve")
def approve(request: Approval, hub: CurrentHub, by: By) -> dict[str, Any]:
    clinic = hub.membership.approve(request.name, by, request.images)
    return {"state": clinic.state, "approved": clinic.approved, "most_embryos": clinic.most_embryos}


@router.post("/refuse")
def refuse(request: ClinicName, hub: CurrentHub, by: By) -> dict[str, Any]:
    return {"state": hub.membership.decline(request.name, request.reason or "Declined by the coordinator.", by).state}


@router.post("/authority")
def authority(request: NewAuthority, hub: CurrentHub, by: By, who: CurrentCaller) -> dict[str, Any]:
    second_person.require(hub, who, "authority", request.model_dump())
    change = hub.authority
    return change.finish(by, request.without) if request.finish else change.begin(by)
