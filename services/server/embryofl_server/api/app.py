"""The server's HTTP API.

Behind the gateway, for clinics: enrolment and uploads; `/internal/authorise` answers the gateway's question whether a
signed download may go ahead. On the hub network only, with the control token: everything under `/control/`.
"""

import collections
import contextlib
import errno
import hmac
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from embryofl.errors import UserError
from embryofl.membership import Enrolment, KeyChange, LeaveRequest, StatusRequest
from embryofl_server.api import console, members, runs
from embryofl_server.api.members import By
from embryofl_server.federation.blobs import BadUrl, UploadRefused
from embryofl_server.hub import Hub
from embryofl_server.members.store import EnrolmentRejected

log = logging.getLogger("embryofl.api")


Address = Annotated[str, Header()]
"""Of `X-Forwarded-For`: the gateway replaces what a client writes there by the address it came from (Caddy trusts no
client's header)."""


class StartRun(BaseModel):
    """Settings of a new run; what is left out takes its default."""

    settings: dict[str, Any] = {}
    initial: str = ""


class RunName(BaseModel):
    """A run; "" means the one that is meant without saying."""

    run: str = ""


class RecentFailures:
    """Slows down guessing at invites: after `MOST` refusals within a minute an address cannot join for the rest of it.

    The last `ADDRESSES` are remembered, so that a flood of addresses costs no memory. A secret of an invite has 128 bits
    and more: the limit spares work and logs, it is not what keeps a guesser out.
    """

    MOST, WINDOW_S, ADDRESSES = 20, 60.0, 10_000

    def __init__(self, words: str = "Too many questions of strangers; try again in a minute.") -> None:
        self.words = words  # what an address is told then
        self._times: collections.OrderedDict[str, collections.deque[float]] = collections.OrderedDict()
        self._lock = threading.Lock()  # enrolments are answered in several threads

    def count(self, address: str) -> None:
        """A refusal of `address` happened."""
        with self._lock:
            self._times.setdefault(address, collections.deque(maxlen=self.MOST)).append(time.monotonic())
            self._times.move_to_end(address)
            while len(self._times) > self.ADDRESSES:
                self._times.popitem(last=False)

    def too_many(self, address: str) -> bool:
        """Whether the window of `address` is full."""
        with self._lock:
            times = self._times.get(address)
            return times is not None and len(times) == self.MOST and time.monotonic() - times[0] < self.WINDOW_S


def _at_the_door(failures: RecentFailures, address: str, answer: Callable[[], dict[str, Any]]) -> Response:
    """What somebody who may be a stranger is answered, unless too many from that address were refused just now."""
    if failures.too_many(address):
        return JSONResponse({"error": failures.words}, status_code=503)
    try:
        return JSONResponse(answer())
    except EnrolmentRejected as exc:
        failures.count(address)
        return JSONResponse({"error": str(exc)}, status_code=403)


def create_app(hub: Hub) -> FastAPI:
    """The API of one hub."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        hub.start()
        yield
        hub.close()

    failures = RecentFailures("Too many refused attempts to join; try again in a minute.")
    strangers = RecentFailures()
    app = FastAPI(title="EmbryoFL hub", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)

    @app.exception_handler(UserError)
    def _user_error(_: Request, exc: UserError) -> JSONResponse:
        return JSONResponse({"error": str(exc)}, status_code=400)

    # -- for clinics, through the gateway ---------------------------------------------------------------------------
    @app.post("/v1/enrol")
    def enrol(request: Enrolment, x_forwarded_for: Address = "") -> Response:
        return _at_the_door(failures, x_forwarded_for, lambda: hub.membership.enrol(request))

    @app.post("/v1/standing")
    def standing(question: StatusRequest, x_forwarded_for: Address = "") -> Response:
        def answer() -> dict[str, Any]:
            found = hub.membership.standing(question, x_forwarded_for[:100])
            offer = hub.finished.offer(found.name) if found.state == "enrolled" else None
            return found.model_copy(update={"finished": offer}).model_dump()

        return _at_the_door(strangers, x_forwarded_for, answer)

    @app.post("/v1/leave")
    def leave(request: LeaveRequest, x_forwarded_for: Address = "") -> Response:
        def answer() -> dict[str, Any]:
            hub.membership.leave(request)
            return {"state": "left"}

        return _at_the_door(strangers, x_forwarded_for, answer)

    @app.post("/v1/key")
    def change_key(request: KeyChange, x_forwarded_for: Address = "") -> Response:
        def answer() -> dict[str, Any]:
            hub.membership.change_key(request)
            return {"state": "changed"}

        return _at_the_door(strangers, x_forwarded_for, answer)

    @app.put("/v1/update/{name}")
    async def update(request: Request) -> Response:
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

    @app.get("/internal/authorise")
    def authorise(request: Request) -> Response:
        try:
            hub.urls.check("GET", request.headers.get("x-forwarded-uri", ""))
        except BadUrl as exc:
            raise HTTPException(403, f"This download address is not valid ({exc}).") from None
        return Response(status_code=204)

    @app.get("/healthz")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    # -- for the coordinator ----------------------------------------------------------------------------------------
    def authorised(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), hub.identity.control_token.encode()):
            raise HTTPException(401, "The control API needs the hub's control token.")

    control = [Depends(authorised)]

    @app.get("/control/status", dependencies=control)
    def status(metrics: Literal["all", "newest"] = "all") -> dict[str, Any]:
        return hub.status(newest=metrics == "newest")

    @app.get("/control/runs", dependencies=control)
    def all_runs() -> list[dict[str, Any]]:
        return [hub.run_info(r) for r in hub.runs.all()]

    @app.post("/control/runs", dependencies=control)
    def start(request: StartRun, by: By = "") -> dict[str, Any]:
        return hub.run_info(hub.start_run(request.settings, request.initial, by))

    @app.post("/control/stop", dependencies=control)
    def stop(request: RunName | None = None, by: By = "") -> dict[str, Any]:
        return hub.run_info(hub.stop_run(request.run if request else "", by))

    @app.post("/control/pause", dependencies=control)
    def pause(request: RunName | None = None, by: By = "") -> dict[str, Any]:
        return hub.run_info(hub.pause_run(request.run if request else "", by))

    @app.post("/control/continue", dependencies=control)
    def go_on(request: RunName | None = None, by: By = "") -> dict[str, Any]:
        return hub.run_info(hub.continue_run(request.run if request else "", by))

    app.include_router(members.routes(hub), dependencies=control)
    app.include_router(console.routes(hub), dependencies=control)
    app.include_router(runs.routes(hub), dependencies=control)
    return app
