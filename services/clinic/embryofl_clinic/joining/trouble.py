"""Why a hub address does not work: what happened, what was expected, and what to do."""

import socket
import ssl
import time
import urllib.parse
from collections.abc import Iterable

import httpx

from embryofl.errors import with_code
from embryofl_clinic.joining.proxy import proxy_for, shown
from embryofl_clinic.texts import texts

_CODES = {
    "unknown_name": "C2",
    "proxy_login": "C3",
    "proxy_blocks": "C3",
    "certificate": "C4",
    "no_tls": "C4",
    "clock": "C5",
}
CONNECT_S = 10.0  # for a connection and its TLS; after that the next address is tried


def trouble(hub: str, exc: Exception) -> str:
    """In one line, for the clinic's IT person.

    Parameters
    ----------
    hub : str
        host:port.
    exc : Exception
        What connecting to it raised.
    """
    proxy, causes = proxy_for(hub), list(_causes(exc))
    raised = " ".join(map(str, causes))
    kind = _kind(exc, causes, raised)
    return with_code(
        _CODES.get(kind, "C1"),
        texts.trouble[kind].format(
            hub=hub,
            name=urllib.parse.urlsplit(proxy).hostname or hub.rpartition(":")[0],
            proxy=shown(proxy),
            through=texts.trouble.through.format(proxy=shown(proxy)) if proxy else "",
            reason=raised.replace("Tunnel connection failed: ", ""),
            error=str(exc) or type(exc).__name__,
            now=time.strftime("%d %B %Y, %H:%M"),
            seconds=f"{CONNECT_S:.0f}",
        ),
    )


def _kind(exc: Exception, causes: list[BaseException], raised: str) -> str:
    """The key of its text."""
    if isinstance(exc, httpx.ProxyError) or "Tunnel connection failed" in raised:
        return "proxy_login" if "407" in raised else "proxy_blocks"
    if any(isinstance(c, ssl.SSLError) for c in causes) or "CERTIFICATE_VERIFY_FAILED" in raised:
        if "not yet valid" in raised or "certificate has expired" in raised:
            return "clock"
        return "certificate" if "CERTIFICATE_VERIFY_FAILED" in raised else "no_tls"
    if any(isinstance(c, socket.gaierror) for c in causes):
        return "unknown_name"
    if any(isinstance(c, ConnectionRefusedError) for c in causes):
        return "refused"
    return "silent" if any(isinstance(c, TimeoutError | httpx.TimeoutException) for c in causes) else "other"


def _causes(exc: BaseException | None) -> Iterable[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__
