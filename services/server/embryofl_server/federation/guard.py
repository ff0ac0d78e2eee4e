"""Stands before the SuperLink, in its process: flwr's Control API has no login, its Fleet API reads a whole body first.

Clinics reach the Fleet API alone, and are recognised by their headers before a byte of the body is read. Everything else is
for the server, which shows a token that only it and the SuperLink can make.
"""

import hashlib
import hmac
from collections.abc import Callable

from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = "x-embryofl-hub"
FLEET = "/v1/fleet/"


def token_of(secret: bytes) -> str:
    """What the server shows: made from the secret that it shares with the SuperLink."""
    return hmac.new(secret, b"embryofl server to superlink", hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware.

    Parameters
    ----------
    app : ASGIApp
        The SuperLink.
    token : str
        What the server shows.
    is_clinic : Callable
        Whether an enrolled clinic has signed a request's headers. It must not block: all requests wait for it.
    """

    def __init__(self, app: ASGIApp, token: str, is_clinic: Callable[[Request], bool]) -> None:
        self._app, self._token, self._is_clinic = app, token.encode(), is_clinic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""
        if scope["type"] != "lifespan" and (status := self._refusal(scope)):
            await PlainTextResponse("Nothing here.", status)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> int:
        if hmac.compare_digest(HTTPConnection(scope).headers.get(HEADER, "").encode(), self._token):
            return 0
        if scope["type"] != "http" or not scope["path"].startswith(FLEET):
            return 404
        return 0 if self._is_clinic(Request(scope)) else 401
