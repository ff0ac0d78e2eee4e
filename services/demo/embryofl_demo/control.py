"""Where the console asks `make demo` to start and stop its test clinics: HTTP on a socket that this user alone can open.

The socket lies in a new folder of mode 0700, so that whoever can connect is a user who could signal these processes anyway;
no browser can reach it. It starts and stops clinics that this demo has started before, and does nothing else. Processes are
started by the supervisor's own thread, at its next look: here it is only noted who is wanted.
"""

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from embryofl.errors import UserError
from embryofl_demo.supervisor import Supervisor


def create_app(supervisor: Supervisor) -> FastAPI:
    """The three calls: which clinics there are, start one, stop one."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.exception_handler(UserError)
    def _no(_: Request, exc: UserError) -> JSONResponse:
        return JSONResponse({"error": str(exc)}, status_code=400)

    @app.get("/clinics")
    def clinics() -> dict[str, str]:
        return supervisor.steerable()

    @app.post("/clinics/{name}/start")
    def start(name: str) -> dict[str, str]:
        supervisor.want(name, running=True)
        return supervisor.steerable()

    @app.post("/clinics/{name}/stop")
    def stop(name: str) -> dict[str, str]:
        supervisor.want(name, running=False)
        return supervisor.steerable()

    return app


class ControlSocket:
    """The open socket.

    Parameters
    ----------
    supervisor : Supervisor

    Attributes
    ----------
    socket : Path
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="embryofl-"))  # mode 0700; short, as a socket's path has to be
        self.socket = self._folder / "demo.sock"
        config: Any = uvicorn.Config(
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
        """Close it."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        shutil.rmtree(self._folder, ignore_errors=True)
