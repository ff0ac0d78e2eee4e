"""The way to the hub: several addresses tried in turn, directly or through the clinic's proxy, and one name to trust.

All three kinds of traffic (Fleet API, joining and standing, weights) go this way. Whatever address is dialled, the
certificate there must be one of the hub's authority and carry the hub's own name: an address is only where to knock, so
that a tunnel's host name, which changes, need not be in any certificate.
"""

import logging
import re
import socket
import ssl
import threading
import urllib.parse
from base64 import b64encode
from http.client import HTTPException, HTTPSConnection

import httpx

from embryofl.errors import UserError
from embryofl.membership import HubContact
from embryofl.schema import ADDRESS
from embryofl_clinic.joining.proxy import proxy_for
from embryofl_clinic.joining.trouble import CONNECT_S, trouble

log = logging.getLogger("embryofl.route")

ANY = "hub.embryofl.internal"  # what stands for the host in a URL: it is never looked up


class HubContext(ssl.SSLContext):
    """Trusts one hub: its authorities, and its own name in the place of the address that was dialled."""

    hub_name = ""

    @classmethod
    def of(cls, ca: str, name: str) -> "HubContext":
        """From authorities (PEM) and the hub's name."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hub_name = name
        return context

    def wrap_socket(  # noqa: PLR0913 - the standard library's signature
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """TLS in which the certificate is checked against the hub's name."""
        name = self.hub_name
        return super().wrap_socket(sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, name, session)


def addresses_of(text: str) -> list[str]:
    """Addresses as a person types them, comma-separated.

    Raises
    ------
    UserError
        When one is not host:port.
    """
    found = [h.strip() for h in text.split(",") if h.strip()]
    for hub in found:
        if not re.fullmatch(ADDRESS, hub):
            raise UserError(f"{hub!r} is no address of a hub. Expected host:port, such as hub.example.org:8443.")
    return found


class Route:
    """Where the hub is reached now. Shared by everything that talks to it; may be used in several threads.

    Parameters
    ----------
    link : HubContact
        Addresses, authorities and name of the hub.
    first : str (default: "")
        Addresses (host:port, comma-separated) that are tried before those.
    """

    def __init__(self, link: HubContact, first: str = "") -> None:
        self._lock = threading.Lock()
        self._first = addresses_of(first)
        self._at, self._hubs = 0, [""]
        self._said: dict[str, str] = {}  # what is wrong with an address, said once until it is put right
        self.version = 0
        self._take(link)

    def _take(self, link: HubContact) -> None:
        self._link = link
        self._hubs = list(dict.fromkeys([*self._first, *link.hubs]))
        for hub in self._hubs:
            proxy_for(hub)  # one that cannot be used is said now
        self._context: HubContext | None = None
        self.version += 1

    @property
    def context(self) -> HubContext:
        """What is trusted there."""
        if self._context is None:
            self._context = HubContext.of(self._link.ca, self._link.server_name)
        return self._context

    def update(self, link: HubContact) -> None:
        """The hub has other addresses or authorities; the address in use stays in use while it is among them."""
        with self._lock:
            if link == self._link:
                return
            hub = self._hubs[self._at]
            self._take(link)
            self._at = self._hubs.index(hub) if hub in self._hubs else 0

    @property
    def hubs(self) -> list[str]:
        """All addresses, in the order in which they are tried."""
        return self._hubs

    @property
    def hub(self) -> str:
        """The address in use, host:port."""
        with self._lock:
            return self._hubs[self._at]

    def failed(self, hub: str, exc: Exception) -> None:
        """Nobody, or not this hub, answers at an address: the next one is used."""
        words = trouble(hub, exc)
        with self._lock:
            if self._said.get(hub) != words:
                self._said[hub] = words
                log.info("the hub cannot be reached at %s: %s", hub, words)
            if hub == self._hubs[self._at]:
                self._at = (self._at + 1) % len(self._hubs)

    def reached(self, hub: str) -> None:
        """The hub answers at an address."""
        if self._said:
            with self._lock:
                if self._said:
                    log.info("the hub is reached at %s", hub)
                self._said.clear()

    def troubles(self) -> str:
        """What is wrong with each address, in one line."""
        with self._lock:
            return "; ".join(f"{hub}: {words}" for hub, words in self._said.items())

    def client(self, timeout: float) -> httpx.Client:
        """A client whose URLs begin with `https://` and `ANY`."""
        return httpx.Client(transport=_Transport(self), timeout=timeout, trust_env=False, follow_redirects=False)

    def connect(self, timeout: float) -> HTTPSConnection:
        """A connection of the standard library's, open.

        Raises
        ------
        OSError, HTTPException
            When the hub answers nowhere; what was wrong with the last address.
        """
        tried: Exception | None = None
        for _ in self._hubs:
            hub = self.hub
            connection = self._connection(hub)
            try:
                connection.connect()
                assert connection.sock is not None
                connection.sock.settimeout(timeout)
            except (OSError, HTTPException) as exc:
                connection.close()
                self.failed(hub, exc)
                tried = exc
                continue
            self.reached(hub)
            return connection
        assert tried is not None
        raise tried

    def _connection(self, hub: str) -> HTTPSConnection:
        proxy = urllib.parse.urlsplit(proxy_for(hub))
        if not proxy.hostname:
            return HTTPSConnection(hub, timeout=CONNECT_S, context=self.context)
        connection = HTTPSConnection(proxy.hostname, proxy.port or 80, timeout=CONNECT_S, context=self.context)
        headers = {}
        if proxy.username:
            who = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
            headers["Proxy-Authorization"] = f"Basic {b64encode(who.encode()).decode()}"
        host, _, port = hub.rpartition(":")
        connection.set_tunnel(host, int(port), headers)
        return connection


class _Transport(httpx.BaseTransport):
    """Sends a request to the address in use, and to the next where nobody answers: nothing was sent then."""

    def __init__(self, route: Route) -> None:
        self._route, self._lock = route, threading.Lock()
        self._inner: dict[tuple[str, int], httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        tried: Exception | None = None
        timeout = request.extensions.get("timeout", {})
        timeout["connect"] = min(timeout.get("connect") or CONNECT_S, CONNECT_S)
        for _ in self._route.hubs:
            hub = self._route.hub
            host, _, port = hub.rpartition(":")
            request.url = request.url.copy_with(host=host, port=int(port))
            try:
                response = self._to(hub).handle_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as exc:
                self._route.failed(hub, exc)
                tried = exc
                continue
            self._route.reached(hub)
            return response
        assert tried is not None
        raise tried

    def _to(self, hub: str) -> httpx.HTTPTransport:
        with self._lock:
            key = (hub, self._route.version)
            if key not in self._inner:
                limits = httpx.Limits(max_connections=20, max_keepalive_connections=4)
                self._inner[key] = httpx.HTTPTransport(
                    verify=self._route.context, proxy=proxy_for(hub) or None, limits=limits, trust_env=False
                )
            return self._inner[key]

    def close(self) -> None:
        for inner in self._inner.values():
            inner.close()
