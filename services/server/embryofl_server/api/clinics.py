"""The API for clinics, through the gateway: enrolment, membership, uploads; and the gateway's question about downloads."""

import errno
import logging
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from embryofl.errors import UserError
from embryofl.membership import Enrolment, KeyChange, LeaveRequest, StatusRequest
from embryofl.messages import Delivery
from embryofl.protocol import why_not_message
from embryofl.schema import explain
from embryofl_server.api.deps import Address, CurrentHub, strangers
from embryofl_server.federation.blobs import BadUrl, UploadRefused
from embryofl_server.federation.mailboxes import MailboxClosed

TO_JOIN = "/v1/enrol"
OF_STRANGERS = frozenset({TO_JOIN, "/v1/standing", "/v1/leave", "/v1/key"})
"""What clinics ask for without a signed URL."""

log = logging.getLogger("embryofl.api")
router = APIRouter()


async def _understood(request: Request) -> None:
    """Reject a clinic of another protocol with the reason, before its message is read by the rules of this one."""
    try:
        message = await request.json()
    except ValueError:
        return  # not JSON, which the route rejects
    if reason := why_not_message(message):
        raise UserError("C8", reason)


_UNDERSTOOD = Depends(_understood)
_TO_JOIN = Depends(strangers("join", "Too many rejected attempts to join; try again in a minute."))
_STRANGERS = Depends(strangers("strangers", "Too many requests from strangers; try again in a minute."))


@router.post(TO_JOIN, dependencies=[_TO_JOIN, _UNDERSTOOD])
def enrol(request: Enrolment, hub: CurrentHub) -> dict[str, Any]:
    return hub.membership.enrol(request)


@router.post("/v1/standing", dependencies=[_STRANGERS, _UNDERSTOOD])
async def standing(question: StatusRequest, hub: CurrentHub, address: Address = "") -> dict[str, Any]:
    """How a clinic's membership stands, and the finished model that it may fetch. Held for as long as a clinic that is
    present wishes, or until there is a request for it."""
    now, work = await run_in_threadpool(hub.membership.status, question, address[:100]), False
    if question.hold and now.link is not None:
        work = await hub.bell.wait(now.name, question.hold)
        now = await run_in_threadpool(hub.membership.status, question, None)
    offer = await run_in_threadpool(hub.finished.offer, now.name) if now.state == "enrolled" else None
    return now.model_copy(update={"finished": offer, "work": work}).model_dump()


@router.post("/v1/leave", dependencies=[_STRANGERS])
def leave(request: LeaveRequest, hub: CurrentHub) -> dict[str, str]:
    hub.membership.leave(request)
    return {"state": "left"}


@router.post("/v1/key", dependencies=[_STRANGERS])
def change_key(request: KeyChange, hub: CurrentHub) -> dict[str, str]:
    hub.membership.change_key(request)
    return {"state": "changed"}


@router.put("/v1/update/{name}")
async def update(request: Request, hub: CurrentHub) -> Response:
    """Upload an update to a signed URL."""
    try:
        path = hub.urls.check("PUT", f"{request.url.path}?{request.url.query}")
        length = request.headers.get("content-length", "")
        await hub.uploads.receive(path, int(length) if length.isdecimal() else None, request.stream())
    except BadUrl as exc:
        raise HTTPException(403, f"This upload address is not valid ({exc}).") from None
    except UploadRefused as exc:
        raise HTTPException(exc.status, str(exc)) from None
    except OSError as exc:  # the clinic tries again until its deadline
        log.error("an update cannot be stored: %s", exc.strerror)
        raise HTTPException(507 if exc.errno == errno.ENOSPC else 500, "The hub cannot store it now.") from None
    # Closed, so that its buffers (a megabyte) are free before the round closes.
    return Response(status_code=201, headers={"Connection": "close"})


@router.post("/v1/step/{name}")
async def step(request: Request, hub: CurrentHub) -> Response:
    """A clinic's reply to a step of a masked round, and its next request, on a signed URL, which is checked before the
    reply is read."""
    try:
        path = hub.urls.check("POST", f"{request.url.path}?{request.url.query}")
        done = Delivery.model_validate_json(await request.body())
        following = await hub.mailboxes.exchange(path, done)
    except BadUrl as exc:
        raise HTTPException(403, f"This address is not valid ({exc}).") from None
    except ValidationError as exc:
        raise HTTPException(422, f"This is not a reply ({explain(exc)}).") from None
    except MailboxClosed:
        raise HTTPException(410, "This attempt at the round is over.") from None
    if following is None:
        return Response(status_code=204)
    return Response(following.model_dump_json(), media_type="application/json")


@router.get("/internal/authorise")
def authorise(request: Request, hub: CurrentHub) -> Response:
    """Whether a signed download may go ahead (asked by the gateway)."""
    try:
        hub.urls.check("GET", request.headers.get("x-forwarded-uri", ""))
    except BadUrl as exc:
        raise HTTPException(403, f"This download address is not valid ({exc}).") from None
    return Response(status_code=204)


@router.get("/healthz")
def health() -> dict[str, str]:
    return {"status": "ok"}
