"""The way to the hub: whatever address is dialled, only this hub is trusted; an address that fails is left for the next."""

import datetime
import socket
import ssl
import threading

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from embryofl.errors import UserError
from embryofl.invite import HUB_NAME
from embryofl.membership import HubContact
from embryofl_clinic.joining.proxy import proxy_for
from embryofl_clinic.joining.route import Route

NAME = "hub.embryofl.internal"


class Authority:
    """Signs certificates."""

    def __init__(self):
        self.key, self.name = (
            ec.generate_private_key(ec.SECP256R1()),
            x509.Name.from_rfc4514_string("CN=test authority"),
        )
        self.pem = self._make(self.name, self.key, x509.BasicConstraints(ca=True, path_length=0)).decode()

    def _make(self, subject, key, *extensions, days=0):
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        made = x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(hours=1)
        )
        for extension in extensions:
            made = made.add_extension(extension, critical=False)
        return made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def context(self, folder, name, days=0):
        """Of a server that shows a certificate for `name`, that was made in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        pem = self._make(x509.Name([]), key, x509.SubjectAlternativeName([x509.DNSName(name)]), days=days)
        path = folder / f"{name}-{x509.random_serial_number()}.pem"
        path.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@pytest.fixture
def serve():
    """`serve(context)`: a TLS server that says yes; gives its port and what was said to it."""
    listeners = []

    def start(context):
        listener, heard = socket.create_server(("127.0.0.1", 0)), []
        listeners.append(listener)

        def accept():
            while True:
                try:
                    near = context.wrap_socket(listener.accept()[0], server_side=True)
                    data = near.recv(65536)
                    while data.startswith(b"POST") and b"SECRET" not in data:
                        data += near.recv(65536)
                    heard.append(data)
                    near.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes")
                    near.close()
                except ssl.SSLError:
                    continue
                except OSError:
                    if listener.fileno() < 0:
                        return

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1], heard

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture(scope="module")
def authority():
    return Authority()


def both_ways(route):
    """A request of each kind of client."""
    with route.client(10) as client:
        yield lambda: client.post(f"https://{HUB_NAME}/x", content=b"SECRET").text

    def plain():
        connection = route.connect(10)
        connection.request("POST", "/x", b"SECRET")
        return connection.getresponse().read().decode()

    yield plain


def test_the_hub_is_known_by_its_own_name_under_any_address(serve, authority, tmp_path):
    port, _ = serve(authority.context(tmp_path, NAME))
    for address in (f"localhost:{port}", f"127.0.0.1:{port}"):
        for ask in both_ways(Route(HubContact(hubs=[address], ca=authority.pem, server_name=NAME))):
            assert ask() == "yes"


@pytest.mark.parametrize("wrong", ["another name of the same authority", "another authority"])
def test_nobody_else_hears_a_word(serve, authority, tmp_path, wrong):
    """A certificate for the dialled name does not help: not of another part of the hub, nor of a proxy that opens TLS."""
    context = authority.context(tmp_path, "localhost") if "name" in wrong else Authority().context(tmp_path, NAME)
    port, heard = serve(context)
    route = Route(HubContact(hubs=[f"localhost:{port}"], ca=authority.pem, server_name=NAME))
    for ask in both_ways(route):
        with pytest.raises((httpx.ConnectError, OSError)):
            ask()
    assert heard == [] and "not this hub's" in route.troubles()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nobody", "ask your network administrator to allow TCP to"),
        ("a name nobody knows", "cannot be resolved"),
        ("no TLS", "does not use TLS as expected"),
        ("silence", "no response within 10 s: a firewall may drop it"),
        ("a clock behind", "correct the clock"),
        ("a clock ahead", "correct the clock"),
    ],
)
def test_fault_on_the_way_is_described_with_what_to_do(serve, authority, tmp_path, monkeypatch, what, words):
    host = "127.0.0.1"
    if what == "a name nobody knows":
        host, port = "no-such-host.invalid", 8443
    elif what.startswith("a clock"):
        port, _ = serve(authority.context(tmp_path, NAME, days={"behind": 9, "ahead": -9}[what.split()[-1]]))
    elif what == "nobody":
        port = closed_port()
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        if what == "silence":
            monkeypatch.setattr("embryofl_clinic.joining.route.CONNECT_S", 0.2)
        else:
            threading.Thread(
                target=lambda: listener.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), daemon=True
            ).start()
    route = Route(HubContact(hubs=[f"{host}:{port}"], ca=authority.pem, server_name=NAME))
    with pytest.raises((httpx.TransportError, OSError)):
        list(both_ways(route))[1]()
    assert words in route.troubles().lower() or words in route.troubles(), route.troubles()
    assert "Errno" not in route.troubles() and "_ssl.c" not in route.troubles()


def test_the_next_address_is_taken_within_a_request_and_kept(serve, authority, tmp_path):
    good, heard = serve(authority.context(tmp_path, NAME))
    strange, _ = serve(Authority().context(tmp_path, NAME))
    hubs = ["127.0.0.1:1", f"127.0.0.1:{strange}", f"127.0.0.1:{good}"]
    for number in (0, 1):
        route = Route(HubContact(hubs=hubs, ca=authority.pem, server_name=NAME))
        ask = list(both_ways(route))[number]
        if number == 0:
            with route.client(10) as client:
                assert client.get(f"https://{HUB_NAME}/x").text == "yes"
        else:
            assert ask() == "yes"
        assert route.hub == hubs[2]
    assert len(heard) == 2


def test_an_update_keeps_the_address_in_use(authority):
    route = Route(HubContact(hubs=["a:1", "b:2"], ca=authority.pem, server_name=NAME), first="c:3")
    assert route.hubs == ["c:3", "a:1", "b:2"] and route.hub == "c:3"
    route.failed("c:3", OSError("away"))
    route.update(HubContact(hubs=["d:4", "a:1"], ca=authority.pem, server_name=NAME))
    assert route.hub == "a:1" and route.hubs == ["c:3", "d:4", "a:1"]
    with pytest.raises(UserError, match="host:port"):
        Route(HubContact(hubs=["a:1"], ca="", server_name=NAME), first="https://a")


@pytest.mark.parametrize(
    ("hub", "no_proxy", "through"),
    [
        ("hub.example:8443", "", True),
        ("hub.example:8443", "other.test", True),
        ("hub.example:8443", "hub.example", False),
        ("hub.example:8443", ".example", False),
        ("hub.example:8443", "*", False),
        ("localhost:8443", "", False),
        ("127.0.0.1:8443", "", False),
        ("a.hub.example:8443", "hub.example", False),
        ("nohub.example:1", "hub.example", True),
        ("a.hub.example:8443", "*.hub.example", False),
        ("hub.example:8443", "other.test, HUB.example:8443", False),
        ("hub.example:8443", "hub.example:443", True),
        ("10.1.2.3:8443", "10.1.2.3", False),
        ("10.1.2.3:8443", "10.0.0.0/8,192.168.0.0/16", False),
        ("11.1.2.3:8443", "10.0.0.0/8", True),
        ("10.1.2.3:8443", "10.1.2.3:8443", False),
        ("hub.example:8443", "10.0.0.0/8,nonsense/99,,", True),
    ],
)
def test_which_addresses_are_reached_through_the_proxy(monkeypatch, hub, no_proxy, through):
    for name in ("https_proxy", "no_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(hub) == ("http://proxy.example:3128" if through else "")
