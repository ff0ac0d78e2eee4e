"""Invites, keys and tokens stay with their owners: not in logs, metrics, scrape targets, audit log or `ps`."""

import base64
import contextlib
import json
from pathlib import Path

import httpx
import psutil
import pytest

from embryofl.invite import Invite
from kits.federation import Federation, draw_clinic, processes_of, until


def spellings(secret: bytes) -> set[bytes]:
    """The encodings in which a secret may appear."""
    return {
        secret,
        secret.hex().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
    }


def words_of(path: Path) -> set[bytes]:
    """What to search for of a file that holds one secret: the lines of a key in PEM, or random bytes in each encoding."""
    content = path.read_bytes()
    if content.startswith(b"-----"):
        return {line for line in content.splitlines() if b"-----" not in line and len(line) > 20}
    return spellings(content)


def secrets_of(federation: Federation) -> dict[str, set[bytes]]:
    """All secrets by kind, among them an open invite and a used one."""
    hub = federation.place.hub / "identity"
    codes = [federation.stack.call("POST", "/control/invites", {"name": n})["invite"] for n in ("used-1", "open-1")]
    draw_clinic(federation.place.data("used-1"), "used-1")
    done = federation.clinic("used-1", "join", stdin=codes[0])
    assert done.returncode == 0, done.stderr
    (federation.place.logs / "used-1.log").write_text(done.stdout + done.stderr)
    federation.stack.call("POST", "/control/revoke", {"name": "used-1"})
    secrets = {"invites": {w.encode() for code in codes for w in (code, Invite.parse(code).secret)}}
    files = [path for ending in ("key", "token", "secret", "password") for path in hub.rglob(f"*.{ending}")]
    signers = federation.place.root / "hub-signer" / "ca.key"
    for path in [*files, signers, *federation.place.root.glob("clinics/*/identity/clinic.key")]:
        secrets[str(path.relative_to(federation.place.root))] = words_of(path)
    assert all(secrets.values()) and len(secrets) >= 9
    return secrets


@pytest.fixture(scope="module")
def secrets(federation: Federation) -> dict[str, set[bytes]]:
    return secrets_of(federation)


def seen(secrets: dict[str, set[bytes]], text: bytes) -> set[str]:
    return {what for what, words in secrets.items() if any(w in text for w in words)}


def test_search_finds_secrets_in_their_own_files(federation, secrets):
    everything = b"".join(p.read_bytes() for p in federation.place.hub.joinpath("identity").rglob("*") if p.is_file())
    ours = {
        "control.token",
        "console/control.token",
        "audit.key",
        "internal.key",
        "metrics.password",
        "superlink/superexec.secret",
    }
    assert {f"hub/identity/{name}" for name in ours} <= seen(secrets, everything)
    assert "hub-signer/ca.key" in set(secrets) - seen(secrets, everything)


def test_metrics_and_scrape_targets_hold_no_secret(federation, secrets, reference):
    """Metrics of the hub and of every clinic, as Prometheus reads them; SuperLink and gateway have none."""
    targets = {p.stem: json.loads(p.read_text()) for p in federation.place.targets.glob("*.json")}
    addresses = [a for entries in targets.values() for entry in entries for a in entry["targets"]]
    alive = [a for a in addresses if ":" in a]
    assert set(targets) == {"hub", "clinics"} and len(alive) >= 4

    def pages() -> list[bytes]:
        texts = []
        for address in alive:
            with contextlib.suppress(httpx.TransportError):  # a clinic of an earlier test, or one that is restarting
                texts.append(httpx.get(f"http://{address}/metrics", auth=federation.metrics_login, timeout=10).content)
        return texts if len(texts) >= 4 else []

    text = json.dumps(targets).encode() + b"".join(until("hub and three clinics reply", pages, pause=1))
    assert b"embryofl_rounds_total" in text and b"embryofl_trainer" in text
    assert seen(secrets, text) == set()
    for port in (
        federation.stack.ports["superlink"],
        federation.stack.ports["gateway"],
        federation.stack.ports["server"],
    ):
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).raise_for_status()


def test_logs_audit_log_and_database_hold_no_secret(federation, secrets, reference):
    logs = b"".join(p.read_bytes() for p in federation.place.logs.iterdir())
    assert b"joined the hub as" in logs
    assert seen(secrets, logs) == set()
    assert seen(secrets, (federation.place.hub / "audit.jsonl").read_bytes()) == set()
    kept = b"".join(p.read_bytes() for p in federation.place.hub.glob("clinics.db*"))
    runs = b"".join(p.read_bytes() for p in (federation.place.hub / "runs").rglob("*.json*"))
    assert seen(secrets, kept + runs) == set()


def test_no_process_is_started_with_a_secret_on_its_command_line(tmp_path):
    """Nor in its environment."""
    plain = Federation(tmp_path / "plain", forked=False)  # a forked process shows the command line of another one
    draw_clinic(plain.place.data("clinic-1"), "clinic-1")
    try:
        plain.stack.start_hub()
        plain.join(["clinic-1"])
        invite = plain.place.clinic("clinic-1") / "invite"
        until("the invite is gone, once the clinic has joined", lambda: not invite.exists())
        secrets, ours = secrets_of(plain), processes_of(plain.place.root)
        assert set(plain.stack.supervisor.pids().values()) <= {p.pid for p in ours}
        for process in ours:
            try:
                command, environment = process.cmdline(), process.environ()
            except psutil.NoSuchProcess:
                continue
            for text in (" ".join(command), json.dumps(environment)):
                assert seen(secrets, text.encode()) == set() and "embryofl1." not in text, process
    finally:
        plain.stack.stop()
