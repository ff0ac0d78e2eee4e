"""Reaching the hub through a tunnel that moves or is lost, through a proxy, and after a change of certificate or CA.

One federation of two clinics: clinic-1 has the hub's addresses from its invite, clinic-2 starts with only the tunnel's. The
tunnel is pyngrok with a stand-in for ngrok's agent (`ngrok_agent.py`). The gateway's certificate is valid for 40 seconds.
"""

import contextlib
import logging
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cryptography import x509

from embryofl.errors import UserError
from embryofl.invite import HUB_NAME, Invite
from embryofl_clinic.joining.enrol import enrol
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_demo.stack import program
from kits import KITS
from kits.enrolment import SUMMARY
from kits.federation import WAIT_S, Federation, draw_clinic, typed, until
from kits.proxy import Proxy

pytestmark = pytest.mark.slow

TOKEN = "2abcTOKENofTheTests_xyz"
CERTIFICATE_S = 40
RUN = {"rounds": 4, "min_clinics": 2, "round_deadline_s": 300}


class Reached(Federation):
    """A federation with a tunnel."""

    def order(self, what: str) -> None:
        """Make the stand-in agent move, lose, restore or end the tunnel."""
        (self.place.root / "standin.part").write_text(what)
        (self.place.root / "standin.part").rename(self.place.root / "order")

    def tunnel(self) -> dict:
        state: dict = self.status()["hub"]["tunnel"]
        return state

    def address(self) -> str:
        """The tunnel's public address, once there is a tunnel."""
        return str(until("the tunnel is up", lambda: self.tunnel()["up"] and self.tunnel()["address"]))

    def certificate(self) -> x509.Certificate:
        """The gateway's current certificate."""
        return until("the gateway shows its certificate", self._shown)

    def _shown(self) -> x509.Certificate | None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection,
                context.wrap_socket(connection, server_hostname=HUB_NAME) as tls,
            ):
                shown = tls.getpeercert(binary_form=True)
        except ConnectionResetError:  # the gateway was just replacing its listener; clinics try again, too
            return None
        assert shown
        return x509.load_der_x509_certificate(shown)

    def invite(self, name: str, **changes: object) -> Invite:
        made = Invite.parse(self.stack.call("POST", "/control/invites", {"name": name, "local": True})["invite"])
        return made.model_copy(update=changes)


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory, _environment: None) -> Iterator[Reached]:
    root = tmp_path_factory.mktemp("reach") / "reach"
    os.environ |= {
        "NGROK_AUTHTOKEN": TOKEN,
        "NGROK_STANDIN": str(root),
        "NGROK_AGENT": str(KITS / "ngrok_agent.py"),
        "EMBRYOFL_CERTIFICATE_DAYS": str(CERTIFICATE_S / 86_400),
    }
    federation = Reached(root, ngrok=True, forked=False)
    for name in ("clinic-1", "clinic-2"):
        draw_clinic(federation.place.data(name), name)
    try:
        federation.stack.start_hub()
        host, _, port = federation.address().rpartition(":")
        assert host == "127.0.0.1"
        federation.stack.via["clinic-2"] = int(port)
        federation.join(["clinic-1", "clinic-2"])
        yield federation
    finally:
        federation.stack.stop()
        for name in ("NGROK_STANDIN", "NGROK_AGENT", "EMBRYOFL_CERTIFICATE_DAYS"):
            os.environ.pop(name, None)


@pytest.fixture(scope="module")
def undisturbed(reached: Reached) -> bytes:
    return (reached.run(**RUN) / "model.safetensors").read_bytes()


def same_weights(reached: Reached, name: str, undisturbed: bytes) -> None:
    run = reached.wait_over(name)
    assert run["state"] == "finished", (run, reached.logs())
    assert (reached.folder(name) / "model.safetensors").read_bytes() == undisturbed
    assert [set(r["clinics"]) for r in reached.records(name)[1:]] == [{"clinic-1", "clinic-2"}] * RUN["rounds"]


def hub_addresses(reached: Reached, name: str) -> list[str]:
    member = ClinicIdentity(reached.place.clinic(name) / "identity").membership
    assert member is not None
    return member.hubs


def test_invites_contain_the_tunnels_address_and_the_hubs_name(reached):
    invite = reached.invite("lisbon")
    assert reached.address() in invite.hubs and f"localhost:{reached.port}" in invite.hubs
    assert invite.server_name == HUB_NAME
    names = reached.certificate().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert HUB_NAME in names.get_values_for_type(x509.DNSName)


def test_run_continues_when_the_tunnel_moves_to_another_address(reached, undisturbed):
    """clinic-2 joined through the tunnel; it continues at the hub's other addresses and receives the new one."""
    old, pids = reached.address(), reached.stack.supervisor.pids()
    until("clinic-2 has other addresses", lambda: len(hub_addresses(reached, "clinic-2")) > 1)
    (first, *_), port = hub_addresses(reached, "clinic-2"), old.rpartition(":")[2]
    assert first.rpartition(":")[2] == port  # the tunnel's, under another name of this host
    name = reached.start_run(**RUN)
    reached.under_way(name, 2)
    reached.order("move")
    until("the hub has the new address", lambda: reached.tunnel()["address"] != old and reached.tunnel()["up"])
    same_weights(reached, name, undisturbed)
    new = reached.address()
    assert new.rpartition(":")[0] != "127.0.0.1" and reached.tunnel()["before"] == old
    for clinic in ("clinic-1", "clinic-2"):
        until(f"{clinic} has the new address", lambda clinic=clinic: new in hub_addresses(reached, clinic))
    assert new in reached.invite("lisbon").hubs and reached.stack.supervisor.pids() == pids
    assert f"it was {old}, it is {new}" in reached.log("tunnel")


def test_lost_tunnel_and_dead_agent_are_reported_and_the_run_continues(reached, undisturbed):
    name = reached.start_run(**RUN)
    reached.order("lose")
    until("the loss is reported", lambda: "is lost" in reached.tunnel()["words"] and not reached.tunnel()["up"])
    reached.order("back")
    address = reached.address()
    reached.order("die")
    until("the tunnel is down", lambda: not reached.tunnel()["up"])
    assert "agent has ended" in reached.tunnel()["words"]
    same_weights(reached, name, undisturbed)
    assert reached.address() and address


def test_tunnel_token_is_visible_nowhere(reached):
    reached.address()
    assert TOKEN.encode() not in b"".join(p.read_bytes() for p in reached.place.logs.iterdir())
    tunnel = reached.stack.supervisor.pids()["tunnel"]
    for process in psutil.process_iter():
        try:
            assert TOKEN not in " ".join(process.cmdline())
            ours = str(reached.place.root) in " ".join(process.environ().values())
            assert not ours or process.pid == tunnel or TOKEN not in process.environ().values(), process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    for path in reached.place.root.rglob("*"):
        assert not path.is_file() or path.suffix == ".png" or TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("token", "agent", "words"),
    [
        ("", "ngrok_agent.py", "There is no token"),
        ("malformed-" + TOKEN, "ngrok_agent.py", "ERR_NGROK_105"),
        ("unknown-" + TOKEN, "ngrok_agent.py", "ERR_NGROK_107"),
        ("crowded-" + TOKEN, "ngrok_agent.py", "ERR_NGROK_108"),
        (TOKEN, "no_agent", "agent is missing"),
    ],
)
def test_reason_for_a_failed_tunnel_is_reported_without_the_token(tmp_path, token, agent, words):
    file = tmp_path / "state.json"
    env = {
        **os.environ,
        "NGROK_AUTHTOKEN": token,
        "EMBRYOFL_TUNNEL_FILE": str(file),
        "EMBRYOFL_NGROK_PATH": str(KITS / agent),
    }
    with (tmp_path / "log").open("wb") as log:
        tunnel = subprocess.Popen([program("embryofl-tunnel"), "run"], env=env, stdout=log, stderr=log)
        try:
            until("the reason is reported", lambda: file.exists() and words in file.read_text())
        finally:
            tunnel.terminate()
            tunnel.wait(30)
    log_text = (tmp_path / "log").read_text()
    assert words in log_text and "is not affected" in log_text and TOKEN not in log_text + file.read_text()


def test_gateway_certificate_is_renewed_during_a_run_without_interruption(reached, undisturbed):
    pids, old = reached.stack.supervisor.pids(), reached.certificate()
    name = reached.start_run(**RUN)
    until("the gateway shows a new certificate", lambda: reached.certificate().serial_number != old.serial_number)
    same_weights(reached, name, undisturbed)
    until("the old certificate has expired", lambda: time.time() > old.not_valid_after_utc.timestamp())
    same_weights(reached, reached.start_run(**RUN), undisturbed)
    assert reached.stack.supervisor.pids() == pids


def test_all_traffic_goes_through_the_clinics_proxy(reached, undisturbed):
    """Only the proxy can resolve the hub's name, so a connection that bypassed it would fail."""
    with Proxy({"hub.clinic.test": "127.0.0.1"}, name="anna", password="pSECRET") as proxy:
        os.environ["HTTPS_PROXY"] = f"http://anna:pSECRET@127.0.0.1:{proxy.port}"
        try:
            reached.restart("clinic-2", ODD_HUBS=f"hub.clinic.test:{reached.port}")
        finally:
            del os.environ["HTTPS_PROXY"]
        until("the proxy has been used", lambda: proxy.asked)
        proxy.asked.clear()
        name = reached.start_run(**RUN)
        same_weights(reached, name, undisturbed)
        assert set(proxy.asked) == {f"hub.clinic.test:{reached.port}"} and len(proxy.asked) >= 8  # two a round
        assert "pSECRET" not in reached.log("clinic-2")
    until("the lost proxy is reported", lambda: "through the proxy http://127.0.0.1" in reached.log("clinic-2"))
    reached.restart("clinic-2")


class _StopWhenLogged(logging.Handler):
    def __init__(self, words: str) -> None:
        super().__init__()
        self.words, self.stop = words, threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.words in record.getMessage():
            self.stop.set()


@contextlib.contextmanager
def stops_when_logged(words: str) -> Iterator[threading.Event]:
    """An event that is set when these words are logged, or after `WAIT_S`."""
    handler, logger = _StopWhenLogged(words), logging.getLogger("embryofl")
    timeout = threading.Timer(WAIT_S, handler.stop.set)
    timeout.start()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield handler.stop
    finally:
        timeout.cancel()
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("http://127.0.0.1:{port}", "requires a name and password"),
        ("http://anna:pw@127.0.0.1:{port}", "blocks this connection"),
        ("http://127.0.0.1:1", "through the proxy http://127.0.0.1:1"),
        ("socks5://x:1", "cannot be used"),
    ],
)
def test_unusable_proxy_is_reported(reached, tmp_path, caplog, monkeypatch, proxy, words):
    with Proxy({}, name="anna", password="pw") as server:
        monkeypatch.setenv("HTTPS_PROXY", proxy.format(port=server.port))
        invite = reached.invite("lisbon", hubs=["hub.clinic.test:8443"])
        with caplog.at_level("INFO"), stops_when_logged(words) as stop, pytest.raises(UserError) as caught:
            enrol(ClinicIdentity(tmp_path / "identity"), invite, "quality", SUMMARY, stop)
        assert words in caplog.text + str(caught.value) and ":pw@" not in caplog.text


def test_no_proxy_is_honoured(reached, tmp_path, monkeypatch):
    with Proxy({}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", ".localhost,other.test")
        invite = reached.invite("lisbon", hubs=[f"hub.localhost:{reached.port}"])
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, port, *a, **k: [(2, 1, 6, "", ("127.0.0.1", int(port)))]
        )
        enrol(ClinicIdentity(tmp_path / "identity"), invite, "quality", SUMMARY, threading.Event())
        assert proxy.asked == []
    reached.stack.call("POST", "/control/revoke", {"name": "lisbon"})


def assert_left_behind_clinic_can_reconnect(reached: Reached, folder: Path) -> None:
    """A clinic that was left behind gets an explanation and, with a reconnect invite, keeps its key and membership."""

    def clinic(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return typed("embryofl-clinic", *words, "--state", str(folder / "away"), stdin=stdin)

    key = ClinicIdentity(folder / "away" / "identity").fingerprint
    lost = clinic("status")
    assert (
        lost.returncode == 1
        and "certificate authority changed" in lost.stdout
        and "invite NAME --reconnect" in lost.stdout
    )
    no = reached.hub("invite", "faro")
    assert no.returncode == 2 and "invite faro --reconnect" in no.stderr
    sent = reached.hub("invite", "faro", "--reconnect").stdout
    assert "docker exec -i embryofl embryofl-clinic join" in sent and "podman exec" in sent
    code = next(x for x in sent.splitlines() if x.startswith("embryofl1."))
    with pytest.raises(UserError, match="does not recognise"):  # the code enrols nobody with another key
        enrol(ClinicIdentity(folder / "thief"), Invite.parse(code), "quality", SUMMARY, threading.Event())
    back = clinic("join", stdin=code)
    assert back.returncode == 0 and "key and membership stay" in back.stdout, back.stderr
    status = clinic("status")
    assert status.returncode == 0 and "takes part" in status.stdout and key in status.stdout
    (entry,) = [c for c in reached.stack.call("GET", "/control/clinics") if c["name"] == "faro"]
    assert entry["key"] == key and entry["state"] == "enrolled"
    assert len([e for e in reached.audit("enrolled") if e["clinic"] == "faro"]) == 1
    assert "has already joined" in clinic("join", stdin=code).stdout


def test_ca_is_replaced_during_a_run_and_every_clinic_follows(reached, undisturbed, tmp_path):
    pids, before = reached.stack.supervisor.pids(), reached.invite("porto")
    away = ClinicIdentity(tmp_path / "away" / "identity")  # a clinic that is offline during the change
    enrol(away, reached.invite("faro"), "quality", SUMMARY, threading.Event())
    assert reached.hub("rotate-ca", "--finish").returncode == 2
    name = reached.start_run(**RUN)
    reached.under_way(name, 1)
    begun = reached.hub("rotate-ca")
    assert begun.returncode == 0 and "faro" in begun.stdout, begun.stderr
    assert reached.invite("braga").ca.count("BEGIN") == 2
    until("all others have the new CA", lambda: reached.status()["hub"]["missing"] == ["faro"])
    assert "without the new one: faro" in reached.hub("status").stdout
    refused = reached.hub("rotate-ca", "--finish")
    assert refused.returncode == 2 and "faro" in refused.stderr and "left behind" in refused.stderr
    done = reached.hub("rotate-ca", "--finish", "--without", "faro")
    assert done.returncode == 0 and "Left behind" in done.stdout and "porto" in done.stdout, done.stderr
    same_weights(reached, name, undisturbed)
    new = x509.load_pem_x509_certificate(reached.ca.read_bytes())
    until("the gateway uses the new CA", lambda: reached.certificate().issuer == new.subject)
    assert reached.invite("braga").ca.count("BEGIN") == 1
    for clinic in ("clinic-1", "clinic-2"):
        where = ClinicIdentity(reached.place.clinic(clinic) / "identity")
        until(f"{clinic} trusts only the new CA", lambda w=where: w.membership.ca.count("BEGIN") == 1)  # type: ignore[union-attr]
    same_weights(reached, reached.start_run(**RUN), undisturbed)
    assert reached.stack.supervisor.pids() == pids
    assert_left_behind_clinic_can_reconnect(reached, tmp_path)
    # an invite from before the change no longer works, and the clinic's log gives the reason
    with stops_when_logged("its certificate is not this hub's") as stop, pytest.raises(UserError):
        enrol(ClinicIdentity(tmp_path / "porto"), before, "quality", SUMMARY, stop)
