"""The route to the hub: only this hub is trusted, at any address; after a failure the next address is used."""

import socket
import ssl
import threading

import httpx
import pytest

from embryofl.errors import UserError
from embryofl.invite import HUB_NAME
from embryofl.membership import HubContact
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.joining.proxy import proxy_for
from embryofl_clinic.joining.route import Route
from kits.tls import Authority

NAME = "hub.embryofl.internal"


@pytest.fixture
def serve():
    """`serve(context)`: a TLS server that replies yes; gives its port and what it received."""
    listeners = []

    def start(context):
        listener, received = socket.create_server(("127.0.0.1", 0)), []
        listeners.append(listener)

        def accept():
            while True:
                try:
                    near = context.wrap_socket(listener.accept()[0], server_side=True)
                    data = near.recv(65536)
                    while data.startswith(b"POST") and b"SECRET" not in data:
                        data += near.recv(65536)
                    received.append(data)
                    near.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes")
                    near.close()
                except ssl.SSLError:
                    continue
                except OSError:
                    if listener.fileno() < 0:
                        return

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1], received

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture(scope="module")
def authority():
    return Authority()


def both_ways(route):
    """Yield a function that sends a request, for each kind of client."""
    with route.client(10) as client:
        yield lambda: client.post(f"https://{HUB_NAME}/x", content=b"SECRET").text

    def plain():
        connection = route.connect(10)
        connection.request("POST", "/x", b"SECRET")
        return connection.getresponse().read().decode()

    yield plain


def test_hub_is_recognised_by_its_own_name_at_any_address(serve, authority, tmp_path):
    port, _ = serve(authority.context(tmp_path, NAME))
    for address in (f"localhost:{port}", f"127.0.0.1:{port}"):
        for ask in both_ways(Route(HubContact(hubs=[address], ca=authority.pem, server_name=NAME))):
            assert ask() == "yes"


def test_certificate_of_the_present_key_is_shown(serve, authority, tmp_path):
    context, identity = authority.context(tmp_path, NAME), ClinicIdentity(tmp_path / "identity")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=identity.certificate())
    port, _ = serve(context)
    contact = HubContact(hubs=[f"localhost:{port}"], ca=authority.pem, server_name=NAME)
    for ask in both_ways(Route(contact)):
        with pytest.raises((OSError, httpx.TransportError)):
            ask()
    route = Route(contact, "", identity.certificate)
    for ask in both_ways(route):
        assert ask() == "yes"
    other = ClinicIdentity(tmp_path / "identity")
    other.next_key()
    other.adopt_next()  # as `rotate-key` does, in another process
    for ask in both_ways(route):
        with pytest.raises((OSError, httpx.TransportError)):
            ask()


@pytest.mark.parametrize("wrong", ["another name of the same authority", "another authority"])
def test_nothing_is_sent_to_an_untrusted_server(serve, authority, tmp_path, wrong):
    """A certificate for the dialled name is not enough, be it of another part of the hub or of a proxy that opens TLS."""
    context = authority.context(tmp_path, "localhost") if "name" in wrong else Authority().context(tmp_path, NAME)
    port, received = serve(context)
    route = Route(HubContact(hubs=[f"localhost:{port}"], ca=authority.pem, server_name=NAME))
    for ask in both_ways(route):
        with pytest.raises((httpx.ConnectError, OSError)):
            ask()
    assert received == [] and "not this hub's" in route.troubles()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nothing listens", "Ask your network administrator to allow TCP to"),
        ("an unknown name", "cannot be resolved"),
        ("no TLS", "does not use TLS as expected"),
        ("silence", "no response within 10 s: a firewall may drop it"),
        ("a clock behind", "correct the clock"),
        ("a clock ahead", "correct the clock"),
    ],
)
def test_connection_fault_is_described_with_what_to_do(serve, authority, tmp_path, monkeypatch, fault, message):
    host = "127.0.0.1"
    if fault == "an unknown name":
        host, port = "no-such-host.invalid", 8443
    elif fault.startswith("a clock"):
        port, _ = serve(authority.context(tmp_path, NAME, days={"behind": 9, "ahead": -9}[fault.split()[-1]]))
    elif fault == "nothing listens":
        port = closed_port()
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        if fault == "silence":
            monkeypatch.setattr("embryofl_clinic.joining.route.CONNECT_S", 0.2)
        else:
            threading.Thread(
                target=lambda: listener.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), daemon=True
            ).start()
    route = Route(HubContact(hubs=[f"{host}:{port}"], ca=authority.pem, server_name=NAME))
    with pytest.raises((httpx.TransportError, OSError)):
        list(both_ways(route))[1]()
    assert message in route.troubles().lower() or message in route.troubles(), route.troubles()
    assert "Errno" not in route.troubles() and "_ssl.c" not in route.troubles()


def test_next_address_is_used_within_a_request_and_kept(serve, authority, tmp_path):
    good, received = serve(authority.context(tmp_path, NAME))
    untrusted, _ = serve(Authority().context(tmp_path, NAME))
    hubs = ["127.0.0.1:1", f"127.0.0.1:{untrusted}", f"127.0.0.1:{good}"]
    for number in (0, 1):
        route = Route(HubContact(hubs=hubs, ca=authority.pem, server_name=NAME))
        ask = list(both_ways(route))[number]
        if number == 0:
            with route.client(10) as client:
                assert client.get(f"https://{HUB_NAME}/x").text == "yes"
        else:
            assert ask() == "yes"
        assert route.hub == hubs[2]
    assert len(received) == 2


def test_new_contact_keeps_the_address_in_use(authority):
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
def test_proxy_is_used_unless_no_proxy_names_the_address(monkeypatch, hub, no_proxy, through):
    for name in ("https_proxy", "no_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(hub) == ("http://proxy.example:3128" if through else "")
