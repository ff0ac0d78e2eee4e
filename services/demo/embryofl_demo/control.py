"""Lets the console start and stop the test clinics of `make demo`: HTTP on a socket that only this user can open.

The socket is in a new folder of mode 0700, so only a user who could signal these processes anyway can connect, and no
browser can reach it. It starts and stops clinics that this demo has started before, and does nothing else. The
supervisor's own thread starts processes, at its next check: here a request is only recorded.
"""

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from embryofl.errors import UserError
from embryofl_demo.supervisor import Supervisor


def create_app(supervisor: Supervisor) -> FastAPI:
    """List the test clinics, start one, stop one."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(UserError)
    def _rejected(_: Request, exc: UserError) -> JSONResponse:
        return JSONResponse({"error": str(exc)}, status_code=400)

    @app.get("/clinics")
    def clinics() -> dict[str, str]:
        return supervisor.optional_states()

    @app.post("/clinics/{name}/{action}")
    def start_or_stop(name: str, action: Literal["start", "stop"]) -> None:
        supervisor.request(name, running=action == "start")

    return app


class ControlSocket:
    """The open socket, served in a thread.

    Parameters
    ----------
    supervisor : Supervisor

    Attributes
    ----------
    socket : Path
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="embryofl-"))  # mode 0700; a socket's path must be short
        self.socket = self._folder / "demo.sock"
        config = uvicorn.Config(
            create_app(supervisor),
            uds=str(self.socket),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the socket."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        shutil.rmtree(self._folder, ignore_errors=True)
