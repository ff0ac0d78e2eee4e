"""Why a hub address does not work: what happened, what was expected, and what to do."""

import socket
import ssl
import time
import urllib.parse
from collections.abc import Iterable

import httpx

from embryofl_clinic.joining.proxy import proxy_for, shown

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
    proxy = proxy_for(hub)
    through = f" (through the proxy {shown(proxy)} of HTTPS_PROXY)" if proxy else ""
    causes = list(_causes(exc))
    text = " ".join(str(c) for c in causes)
    if isinstance(exc, httpx.ProxyError) or "Tunnel connection failed" in text:
        if "407" in text:
            return (
                f"the proxy {shown(proxy)} requires a name and password. Set HTTPS_PROXY=http://name:password@host:port"
            )
        reason = text.replace("Tunnel connection failed: ", "")
        return f"the proxy {shown(proxy)} blocks this connection ({reason}). Ask for {hub} to be allowed"
    if any(isinstance(c, ssl.SSLError) for c in causes) or "CERTIFICATE_VERIFY_FAILED" in text:
        return _of_tls(text, through)
    return _of_the_network(hub, proxy, causes, through) or f"{exc or type(exc).__name__}{through}"


def _of_tls(text: str, through: str) -> str:
    if "not yet valid" in text or "certificate has expired" in text:
        return (
            f"the hub's certificate is not valid at this machine's time, {time.strftime('%d %B %Y, %H:%M')}{through}. "
            "Correct the clock. If it is correct, inform the coordinator"
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"a server answered, but its certificate is not this hub's{through}. Either a proxy or firewall on the way "
            "decrypts TLS, or the hub's certificate authority changed while this clinic was away. In that case ask the "
            "coordinator for a reconnect invite (embryofl-server invite NAME --reconnect); key and membership stay"
        )
    return f"the server there does not use TLS as expected{through}. Expected the hub's gateway. Check the port"


def _of_the_network(hub: str, proxy: str, causes: list[BaseException], through: str) -> str:
    allow = f"Ask your network administrator to allow TCP to {hub}, and ask the coordinator whether the hub is running"
    if any(isinstance(c, socket.gaierror) for c in causes):
        name = urllib.parse.urlsplit(proxy).hostname or hub.rpartition(":")[0]
        return (
            f"the name {name} cannot be resolved{through}. Check its spelling and this machine's DNS, or ask the "
            "coordinator for another address"
        )
    if any(isinstance(c, ConnectionRefusedError) for c in causes):
        return f"the connection was refused: nothing listens there, or a firewall rejects it{through}. {allow}"
    if any(isinstance(c, TimeoutError | httpx.TimeoutException) for c in causes):
        return f"no response within {CONNECT_S:.0f} s: a firewall may drop it{through}. {allow}"
    return ""


def _causes(exc: BaseException | None) -> Iterable[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__
