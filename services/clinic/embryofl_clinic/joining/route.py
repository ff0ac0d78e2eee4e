"""The way to the hub: several addresses tried in turn, directly or through the clinic's proxy, and one name to trust.

All traffic (Fleet API, membership, weights) goes this way. Whatever address is dialled, the certificate there must be
signed by the hub's authority and carry the hub's own name. So a tunnel's host name, which changes, need not be in any
certificate.
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


class HubContext(ssl.SSLContext):
    """Trusts one hub: checks its authorities and its own name, whatever address was dialled."""

    hub_name = ""

    @classmethod
    def of(cls, ca: str, name: str) -> "HubContext":
        """From authorities (PEM) and the hub's name."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hub_name = name
        return context

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """TLS with the certificate checked against the hub's name."""
        return super().wrap_socket(
            sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, self.hub_name, session
        )


def addresses_of(text: str) -> list[str]:
    """Addresses as a person types them, comma-separated.

    Raises
    ------
    UserError
        When one is not host:port.
    """
    addresses = [h.strip() for h in text.split(",") if h.strip()]
    for hub in addresses:
        if not re.fullmatch(ADDRESS, hub):
            raise UserError(f"{hub!r} is not a hub address. Expected host:port, such as hub.example.org:8443.")
    return addresses


class Route:
    """Where the hub is reached now. Shared by everything that connects to it; may be used in several threads.

    Parameters
    ----------
    contact : HubContact
        Addresses, authorities and name of the hub.
    first : str (default: "")
        Addresses (host:port, comma-separated) that are tried before those.
    """

    def __init__(self, contact: HubContact, first: str = "") -> None:
        self._lock = threading.Lock()
        self._first = addresses_of(first)
        self._at, self._hubs = 0, [""]
        self._faults: dict[str, str] = {}  # address: what is wrong there, logged once until it works again
        self.version = 0
        self._take(contact)

    def _take(self, contact: HubContact) -> None:
        self._contact = contact
        self._hubs = list(dict.fromkeys([*self._first, *contact.hubs]))
        for hub in self._hubs:
            proxy_for(hub)  # raises now for a proxy that cannot be used
        self._context: HubContext | None = None
        self.version += 1

    @property
    def context(self) -> HubContext:
        """What is trusted there."""
        if self._context is None:
            self._context = HubContext.of(self._contact.ca, self._contact.server_name)
        return self._context

    def update(self, contact: HubContact) -> None:
        """Use other addresses or authorities; the address in use stays in use if it is among them."""
        with self._lock:
            if contact == self._contact:
                return
            hub = self._hubs[self._at]
            self._take(contact)
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
        """Record that this hub was not reached at an address: the next one is used."""
        fault = trouble(hub, exc)
        with self._lock:
            if self._faults.get(hub) != fault:
                self._faults[hub] = fault
                log.info("the hub cannot be reached at %s: %s", hub, fault)
            if hub == self._hubs[self._at]:
                self._at = (self._at + 1) % len(self._hubs)

    def reached(self, hub: str) -> None:
        """Record that the hub replies at an address."""
        with self._lock:
            if self._faults:
                log.info("connected to the hub at %s", hub)
            self._faults.clear()

    def troubles(self) -> str:
        """What is wrong with each address, in one line."""
        with self._lock:
            return "; ".join(f"{hub}: {fault}" for hub, fault in self._faults.items())

    def client(self, timeout: float) -> httpx.Client:
        """A client for URLs with the host `HUB_NAME`, which is never looked up."""
        return httpx.Client(transport=_Transport(self), timeout=timeout, trust_env=False, follow_redirects=False)

    def connect(self, timeout: float) -> HTTPSConnection:
        """An open connection of the standard library's.

        Raises
        ------
        OSError, HTTPException
            When the hub is reached nowhere; what was wrong with the last address.
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
    """Sends a request to the address in use, and to the next if the connection fails: nothing was sent then."""

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
