"""The server's HTTP API, and the process that serves it.

Behind the gateway, for clinics: enrolment and uploads; `/internal/authorise` answers the gateway's question whether a
signed download may go ahead. On the hub network only, with a token and for people by their roles: everything under
`/control/`.
"""

import asyncio
import collections
import contextlib
import socket
from collections.abc import AsyncIterator

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from embryofl.errors import UserError, with_code
from embryofl.process import set_up_logging
from embryofl_server.api import account, clinics, console, members, notices, people, runs, second_person
from embryofl_server.api.deps import FewAtOnce, PromptBodies, Rejections, by_method, caller, notifier
from embryofl_server.hub import Hub
from embryofl_server.members.invites import EnrolmentRejected
from embryofl_server.members.limits import LOGINS, REJECTED, Limit
from embryofl_server.settings import load_settings
from embryofl_server.state.signer.client import SignerProcess


def create_app(hub: Hub) -> FastAPI:
    """The API of one hub."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        hub.start()
        yield
        hub.close()

    app = FastAPI(title="EmbryoFL hub", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.hub, app.state.limits = hub, collections.defaultdict(lambda: Limit(REJECTED))
    app.state.wrong, app.state.login = Limit(LOGINS), asyncio.Lock()  # one password at a time: each takes 64 MiB

    @app.exception_handler(UserError)
    def _user_error(_: Request, exc: UserError) -> JSONResponse:
        return JSONResponse({"error": str(exc)}, status_code=400)

    @app.exception_handler(EnrolmentRejected)
    def _rejected(request: Request, exc: EnrolmentRejected) -> JSONResponse:
        rejections: Rejections = request.state.rejected
        if rejections.too_many():
            return JSONResponse({"error": with_code("C6", rejections.message)}, status_code=503)
        return JSONResponse({"error": str(exc)}, status_code=403)

    @app.exception_handler(second_person.Waits)
    def _waits(_: Request, exc: second_person.Waits) -> JSONResponse:
        return JSONResponse({"waits": str(exc)}, status_code=202)

    app.add_middleware(PromptBodies, paths=clinics.OF_STRANGERS)
    app.add_middleware(FewAtOnce, path=clinics.TO_JOIN)
    app.include_router(clinics.router)
    for module, who in (
        (members, by_method),
        (runs, by_method),
        (second_person, by_method),
        (console, caller),
        (people, caller),
        (account, caller),
        (notices, notifier),
    ):
        app.include_router(module.router, prefix="/control", dependencies=[Depends(who)])
    return app


def serve() -> None:
    """Serve the hub of the environment until SIGTERM or SIGINT."""
    set_up_logging()
    settings = load_settings()
    signer = SignerProcess(settings.socket)
    signer.wait()
    hub = Hub(settings, signer)
    certificate, key = hub.identity.certificate
    config = uvicorn.Config(
        create_app(hub),
        host=settings.listen_host,
        port=settings.listen_port,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        log_level="warning",
        access_log=False,  # URLs carry signatures
        server_header=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=75,
    )
    _Server(hub, config).run()


class _Server(uvicorn.Server):
    """Answers the requests that it holds before it waits for the end of all."""

    def __init__(self, hub: Hub, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End within seconds."""
        self._hub.bell.close()
        await super().shutdown(sockets)
