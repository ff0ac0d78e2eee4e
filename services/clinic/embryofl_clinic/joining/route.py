"""The way to the hub: several addresses tried in turn, directly or through the clinic's proxy, and one name to trust.

All traffic (Fleet API, membership, weights) goes this way. Whatever address is dialled, the certificate there must be
signed by the hub's authority and carry the hub's own name. So a tunnel's host name, which changes, need not be in any
certificate. A clinic that has joined shows its own certificate, without which the hub's gateway only lets it join.
"""

import functools
import logging
import re
import ssl
import tempfile
import threading
import urllib.parse
from base64 import b64encode
from collections.abc import Callable
from http.client import HTTPException, HTTPSConnection
from typing import Any, TypeVar

import httpx

from embryofl.errors import UserError
from embryofl.membership import HubContact
from embryofl.schema import ADDRESS
from embryofl_clinic.joining.proxy import proxy_for
from embryofl_clinic.joining.trouble import CONNECT_S, trouble

log = logging.getLogger("embryofl.route")

_NOT_CONNECTED = (OSError, HTTPException, httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
Opened = TypeVar("Opened")


class HubContext(ssl.SSLContext):
    """Trusts one hub: checks its authorities and its own name, whatever address was dialled. Shows a certificate."""

    hub_name = ""

    @classmethod
    @functools.lru_cache(maxsize=8)
    def of(cls, ca: str, name: str, certificate: str) -> "HubContext":
        """From authorities (PEM), the hub's name, and the clinic's certificate with its key (PEM; "": none)."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hub_name = name
        if certificate:
            with tempfile.NamedTemporaryFile("w") as file:  # its owner's alone; OpenSSL reads a key from nowhere else
                file.write(certificate)
                file.flush()
                context.load_cert_chain(file.name)
        return context

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """TLS with the certificate checked against the hub's name."""
        return super().wrap_socket(*args, **{**options, "server_hostname": self.hub_name})


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
            raise UserError("S7", f"{hub!r} is not a hub address. Expected host:port, such as hub.example.org:8443.")
    return addresses


class Route:
    """Where the hub is reached now. Shared by everything that connects to it; may be used in several threads.

    Parameters
    ----------
    contact : HubContact
        Addresses, authorities and name of the hub.
    first : str (default: "")
        Addresses (host:port, comma-separated) that are tried before those.
    certificate : callable, optional
        Gives the clinic's certificate with its key, PEM, at each connection; default: it has none to show yet.

    Attributes
    ----------
    hubs : list of str
        All addresses, in the order in which they are tried.
    """

    def __init__(self, contact: HubContact, first: str = "", certificate: Callable[[], str] = str) -> None:
        self._lock, self._certificate = threading.Lock(), certificate
        self._first = addresses_of(first)
        self._at = 0
        self._faults: dict[str, str] = {}  # address: what is wrong there, logged once until it works again
        self._take(contact)

    def _take(self, contact: HubContact) -> None:
        self._contact = contact
        self.hubs = list(dict.fromkeys([*self._first, *contact.hubs]))
        for hub in self.hubs:
            proxy_for(hub)  # raises now for a proxy that cannot be used

    def update(self, contact: HubContact) -> None:
        """Use other addresses or authorities; the address in use stays in use if it is among them."""
        with self._lock:
            hub = self.hubs[self._at]
            self._take(contact)
            self._at = self.hubs.index(hub) if hub in self.hubs else 0

    @property
    def hub(self) -> str:
        """The address in use, host:port."""
        with self._lock:
            return self.hubs[self._at]

    @property
    def trust(self) -> tuple[str, str, str]:
        """The hub's authorities (PEM), its name, and the clinic's own certificate with its key (PEM; "": none)."""
        return self._contact.ca, self._contact.server_name, self._certificate()

    def first_connected(self, connect: Callable[[str], Opened]) -> Opened:
        """What `connect(address)` returns for the first address where it connects, beginning with the one in use.

        Raises
        ------
        OSError, HTTPException, httpx.TransportError
            When the hub is reached nowhere: what was wrong with the last address.
        """
        for left in reversed(range(len(self.hubs))):
            hub = self.hub
            try:
                opened = connect(hub)
            except _NOT_CONNECTED as exc:
                self.failed(hub, exc)
                if not left:
                    raise
            else:
                self._reached(hub)
                return opened
        raise AssertionError("a route has an address")

    def failed(self, hub: str, exc: Exception) -> None:
        """Record that this hub was not reached at an address: the next one is used."""
        fault = trouble(hub, exc)
        with self._lock:
            if self._faults.get(hub) != fault:
                self._faults[hub] = fault
                log.info("the hub cannot be reached at %s: %s", hub, fault)
            if hub == self.hubs[self._at]:
                self._at = (self._at + 1) % len(self.hubs)

    def _reached(self, hub: str) -> None:
        with self._lock:
            if self._faults:
                log.info("connected to the hub at %s", hub)
            self._faults.clear()

    def troubles(self) -> str:
        """What is wrong with each address, in one line."""
        with self._lock:
            return "; ".join(f"{hub}: {fault}" for hub, fault in self._faults.items())

    def client(self, timeout: float) -> httpx.Client:
        """A client for URLs with the host `HUB_NAME`, which is never looked up. `timeout` in seconds."""
        limits = httpx.Timeout(timeout, connect=CONNECT_S)
        return httpx.Client(transport=_Transport(self), timeout=limits, trust_env=False, follow_redirects=False)

    def connect(self, timeout: float) -> HTTPSConnection:
        """An open connection of the standard library. Raises as `first_connected`.

        Parameters
        ----------
        timeout : float
            Seconds without a byte.
        """
        connection = self.first_connected(self._connect)
        connection.sock.settimeout(timeout)
        return connection

    def _connect(self, hub: str) -> HTTPSConnection:
        context, proxy = HubContext.of(*self.trust), urllib.parse.urlsplit(proxy_for(hub))
        if proxy.hostname:
            connection = HTTPSConnection(proxy.hostname, proxy.port or 80, timeout=CONNECT_S, context=context)
            headers = {}
            if proxy.username:
                login = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
                headers["Proxy-Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
            host, _, port = hub.rpartition(":")
            connection.set_tunnel(host, int(port), headers)
        else:
            connection = HTTPSConnection(hub, timeout=CONNECT_S, context=context)
        try:
            connection.connect()
        except _NOT_CONNECTED:
            connection.close()
            raise
        return connection


class _Transport(httpx.BaseTransport):
    """Sends a request to the address in use, and to the next if the connection fails: nothing was sent then."""

    def __init__(self, route: Route) -> None:
        self._route, self._lock = route, threading.Lock()
        self._opened: dict[tuple[str, tuple[str, str, str]], httpx.BaseTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        def send(hub: str) -> httpx.Response:
            host, _, port = hub.rpartition(":")
            request.url = request.url.copy_with(host=host, port=int(port))
            with self._lock:
                key = (hub, self._route.trust)
                if key not in self._opened:
                    self._opened[key] = open_transport(*key)
            return self._opened[key].handle_request(request)

        return self._route.first_connected(send)

    def close(self) -> None:
        for transport in self._opened.values():
            transport.close()


def open_transport(hub: str, trust: tuple[str, str, str]) -> httpx.BaseTransport:
    """Connections to one address, directly or through the clinic's proxy, that trust the hub alone."""
    limits = httpx.Limits(max_connections=20, max_keepalive_connections=4)
    return httpx.HTTPTransport(
        verify=HubContext.of(*trust), proxy=proxy_for(hub) or None, limits=limits, trust_env=False
    )
