"""The server's HTTP API.

Behind the gateway, for clinics: enrolment and uploads; `/internal/authorise` answers the gateway's question whether a
signed download may go ahead. On the hub network only, with the control token: everything under `/control/`.
"""

import contextlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from embryofl.errors import UserError
from embryofl.messages import Enrolment
from embryofl_server.blobs import BadUrl, UploadRefused
from embryofl_server.hub import HubService
from embryofl_server.store import Refused


class StartRun(BaseModel):
    """Settings of a new run; what is left out takes its default."""

    settings: dict[str, Any] = {}
    initial: str = ""


class InviteRequest(BaseModel):
    """The name of the clinic to invite."""

    name: str


def create_app(hub: HubService) -> FastAPI:
    """The API of one hub."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        hub.start()
        yield
        hub.close()

    app = FastAPI(title="EmbryoFL hub", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)

    @app.exception_handler(UserError)
    def _user_error(_: Request, exc: UserError) -> JSONResponse:
        return JSONResponse({"error": str(exc)}, status_code=400)

    # -- for clinics, through the gateway ---------------------------------------------------------------------------
    @app.post("/v1/enrol")
    def enrol(request: Enrolment) -> Response:
        try:
            return JSONResponse(hub.enrol(request))
        except Refused as exc:
            return JSONResponse({"error": str(exc)}, status_code=403)

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
        return Response(status_code=201)

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
    def status() -> dict[str, Any]:
        return hub.status()

    @app.get("/control/runs", dependencies=control)
    def runs() -> list[dict[str, Any]]:
        return [hub.run_info(r) for r in hub.runs.all()]

    @app.post("/control/runs", dependencies=control)
    def start(request: StartRun) -> dict[str, Any]:
        return hub.run_info(hub.start_run(request.settings, request.initial))

    @app.post("/control/stop", dependencies=control)
    def stop() -> dict[str, Any]:
        return hub.run_info(hub.stop_run())

    @app.post("/control/invites", dependencies=control)
    def invite(request: InviteRequest) -> dict[str, str]:
        return {"invite": hub.invite(request.name).word()}

    return app
