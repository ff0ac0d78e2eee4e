"""Why an address does not lead to the hub: what was found, what was expected, and what to do."""

import socket
import ssl
import time
import urllib.parse
from collections.abc import Iterable

import httpx

from embryofl_clinic.joining.proxy import proxy_for, shown

CONNECT_S = 10.0  # for a connection and its TLS; an address that takes longer is left for the next


def trouble(hub: str, exc: Exception) -> str:
    """In one line, for a person who looks after the clinic's machine.

    Parameters
    ----------
    hub : str
        host:port.
    exc : Exception
        What came of dialling it.
    """
    proxy = proxy_for(hub)
    through = f" (through the proxy {shown(proxy)} that HTTPS_PROXY names)" if proxy else ""
    causes = list(_causes(exc))
    text = " ".join(str(c) for c in causes)
    if isinstance(exc, httpx.ProxyError) or "Tunnel connection failed" in text:
        if "407" in text:
            return f"the proxy {shown(proxy)} wants a name and password: HTTPS_PROXY=http://name:password@host:port"
        said = text.replace("Tunnel connection failed: ", "")
        return f"the proxy {shown(proxy)} does not let this connection through ({said}). Ask for {hub} to be allowed"
    if any(isinstance(c, ssl.SSLError) for c in causes) or "CERTIFICATE_VERIFY_FAILED" in text:
        return _of_tls(text, through)
    return _of_the_network(hub, proxy, causes, through) or f"{exc or type(exc).__name__}{through}"


def _of_tls(text: str, through: str) -> str:
    if "not yet valid" in text or "certificate has expired" in text:
        return (
            f"the hub's certificate is not valid at the time that this machine has, {time.strftime('%d %B %Y, %H:%M')}"
            f"{through}. Set its clock right; if it is right, tell the coordinator"
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"somebody answers there, with a certificate that is not this hub's{through}. Is something on the way that "
            "opens TLS, or has the hub's authority changed while this clinic was away? Then ask the coordinator for a "
            "new invite (embryofl-server invite NAME --reconnect), with which key and membership stay"
        )
    return (
        f"what answers there speaks no TLS that is taken here{through}. Expected the hub's gateway: is the port right?"
    )


def _of_the_network(hub: str, proxy: str, causes: list[BaseException], through: str) -> str:
    allow = f"ask whoever looks after the network to allow TCP to {hub}, and the coordinator whether the hub runs"
    if any(isinstance(c, socket.gaierror) for c in causes):
        name = urllib.parse.urlsplit(proxy).hostname or hub.rpartition(":")[0]
        return (
            f"the name {name} is not known here{through}. Is it spelt right, and may this machine look names up? The "
            "coordinator may know another address"
        )
    if any(isinstance(c, ConnectionRefusedError) for c in causes):
        return f"the connection is refused: nothing listens there, or a firewall turns it away{through}. So {allow}"
    if any(isinstance(c, TimeoutError | httpx.TimeoutException) for c in causes):
        return f"no answer within {CONNECT_S:.0f} s: a firewall may swallow it{through}. So {allow}"
    return ""


def _causes(exc: BaseException | None) -> Iterable[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__
