"""Backup and restore: the complete state, taken while the hub runs; damaged, foreign and hostile archives are rejected."""

import io
import json
import tarfile
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from embryofl.clinic_keys import openssh
from embryofl.errors import UserError
from embryofl.settings import RunSettings
from embryofl_server.audit.reading import verify_log
from embryofl_server.cli import commands
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.hub import Hub
from embryofl_server.members.store import ClinicStore
from embryofl_server.settings import HubSettings
from embryofl_server.state import database
from embryofl_server.state.backup import MANIFEST, SUMS, read_backup, write_backup

KEY = openssh(ec.derive_private_key(1, ec.SECP384R1()))


@pytest.fixture
def settings(tmp_path):
    return HubSettings(state_dir=tmp_path / "hub", superlink_address="127.0.0.1:9")


@pytest.fixture
def hub(settings, packed):
    """A hub with a clinic and a run of eight rounds."""
    started = Hub(settings)
    started.store.enrol("anna", started.store.invite("anna", 1), KEY, "quality", {"counts": {"5": {"0": 9, "1": 9}}})
    run = started.runs.create(RunSettings(rounds=9))
    rounds = Checkpoints(run.folder, settings.weights / run.name, 3)
    for number in range(9):
        rounds.save(number, packed(number), {"clinics": {}}, {"momentum": packed(number)})
        run.event("round", round=number)
    run.set_state("running", 8)
    started.audit.write("round", run=run.name, round=8)
    yield started
    started.store.close()


def archive(settings) -> bytes:
    out = io.BytesIO()
    write_backup(settings, out)
    return out.getvalue()


def new_hub_settings(tmp_path):
    return HubSettings(state_dir=tmp_path / "elsewhere" / "hub", superlink_address="127.0.0.1:9")


def test_restored_hub_is_identical(hub, settings, tmp_path, packed):
    other = new_hub_settings(tmp_path)
    contents = read_backup(other, io.BytesIO(archive(settings)))
    assert (contents.runs, contents.clinics) == (1, 1)
    again = Hub(other)
    assert again.identity.ca == hub.identity.ca and again.identity.url_key == hub.identity.url_key
    assert again.identity.superexec_secret == hub.identity.superexec_secret
    assert again.store.clinics() == hub.store.clinics()
    run = again.runs.get("run-0001")
    latest = Checkpoints(run.folder, other.weights / run.name, 3).latest()
    assert latest.round == 8 and latest.packed().tobytes() == packed(8).tobytes()
    assert latest.state()["momentum"].tobytes() == packed(8).tobytes()
    assert run.state == hub.runs.get("run-0001").state and verify_log(other.state_dir)[0]
    for path in sorted((settings.state_dir / "identity").rglob("*")):
        if path.is_file():
            twin = other.state_dir / path.relative_to(settings.state_dir)
            assert twin.read_bytes() == path.read_bytes() and twin.stat().st_mode == path.stat().st_mode
    assert not list(other.state_dir.glob(".restore-*"))
    again.store.close()


def test_backup_during_work_is_complete(hub, settings, tmp_path, packed):
    """While archives are made, rounds are saved and pruned, clinics join and the log grows as fast as possible."""
    run, stop = hub.runs.get("run-0001"), threading.Event()
    rounds = Checkpoints(run.folder, settings.weights / run.name, 2)

    def work() -> None:
        number = 9
        while not stop.is_set():
            rounds.save(number, packed(number), {"clinics": {}}, {"momentum": packed(number)})
            run.set_state("running", number)
            run.event("round", round=number)
            hub.store.enrol(f"c{number}", hub.store.invite(f"c{number}", 1), f"key-{number}", "quality", {})
            hub.audit.write("round", run=run.name, round=number)
            number += 1

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for turn in range(5):
            other = HubSettings(state_dir=tmp_path / f"copy-{turn}")
            read_backup(other, io.BytesIO(archive(settings)))
            copy = ClinicStore(other.state_dir / "clinics.db")
            assert "anna" in copy.clinics() and verify_log(other.state_dir)[0], verify_log(other.state_dir)
            copy.close()
            folder = other.state_dir / "runs" / run.name
            newest = max(int(p.stem[-4:]) for p in folder.glob("round-*.json"))
            latest = Checkpoints(folder, other.weights / run.name, 2).latest()
            assert latest.round == newest and latest.packed().tobytes() == packed(newest).tobytes()
            assert [json.loads(x)["kind"] for x in (folder / "events.jsonl").read_text().splitlines()]
    finally:
        stop.set()
        worker.join()


def test_restore_overwrites_nothing(hub, settings):
    with pytest.raises(UserError, match=r"already holds a hub's state \(clinics.db"):
        read_backup(settings, io.BytesIO(archive(settings)))
    assert hub.store.clinics()


def entries(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {e.name: tar.extractfile(e).read() for e in tar}


def made_of(files: dict[str, bytes], special: tarfile.TarInfo | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        if special:
            tar.addfile(special)
    return out.getvalue()


def link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


BAD = {
    "cut off": lambda f, d: d[: len(d) // 2],
    "nothing": lambda f, d: b"",
    "no archive": lambda f, d: b"hello" * 1000,
    "without sums": lambda f, d: made_of({n: x for n, x in f.items() if n != SUMS}),
    "a file changed": lambda f, d: made_of({**f, "identity/ca.key": b"another"}),
    "a file more": lambda f, d: made_of({**f, "runs/run-0001/extra": b"x"}),
    "a file less": lambda f, d: made_of({n: x for n, x in f.items() if n != "audit.jsonl"}),
    "another order": lambda f, d: made_of(dict(reversed(f.items()))),
    "no manifest": lambda f, d: made_of({**f, MANIFEST: b"{}"}),
    **{
        f"a {which} state": lambda f, d, step=step: made_of(
            {**f, MANIFEST: json.dumps({"format": 1, "schema": database.VERSION + step}).encode()}
        )
        for which, step in (("newer", 1), ("older", -1))
    },
    "outside": lambda f, d: made_of({**f, "../evil": b"x"}),
    "absolute": lambda f, d: made_of({**f, "/tmp/evil": b"x"}),
    "elsewhere": lambda f, d: made_of({**f, "cron.d/evil": b"x"}),
    "a link": lambda f, d: made_of(f, link("identity/evil", tarfile.SYMTYPE)),
    "a hard link": lambda f, d: made_of(f, link("identity/evil", tarfile.LNKTYPE)),
    "a device": lambda f, d: made_of(f, link("runs/null", tarfile.CHRTYPE)),
}


@pytest.mark.parametrize("how", BAD)
def test_damaged_or_foreign_archive_is_rejected_and_changes_nothing(hub, settings, tmp_path, how):
    data, other = archive(settings), new_hub_settings(tmp_path)
    with pytest.raises(UserError) as caught:
        read_backup(other, io.BytesIO(BAD[how](entries(data), data)))
    assert "archive" in str(caught.value) and len(str(caught.value)) < 400
    assert list(other.state_dir.iterdir()) == [] and not (tmp_path / "elsewhere" / "evil").exists()


def test_archive_is_readable_by_its_owner_only_and_lists_its_contents(hub, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBRYOFL_STATE_DIR", str(settings.state_dir))
    file = tmp_path / "backup.tar"
    done = CliRunner().invoke(commands.app, ["backup", str(file)])
    assert done.exit_code == 0 and "private keys" in done.output and "1 runs, 1 clinics" in done.output
    assert file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("EMBRYOFL_STATE_DIR", str(tmp_path / "new"))
    done = CliRunner().invoke(commands.app, ["restore", str(file), "--revoked", "none"])
    assert done.exit_code == 0 and "1 runs, 1 clinics" in done.output
    assert "is not a file" in str(CliRunner().invoke(commands.app, ["restore", str(tmp_path / "missing")]).exception)
    monkeypatch.setenv("EMBRYOFL_STATE_DIR", str(tmp_path / "nobody"))
    assert "not a hub's state" in str(CliRunner().invoke(commands.app, ["backup", str(tmp_path / "x")]).exception)
    assert not (tmp_path / "x").exists()


def test_clinic_that_was_revoked_after_a_backup_is_no_member_of_the_restored_hub(hub, settings, tmp_path, monkeypatch):
    hub.store.invite("porto", 7)
    file = tmp_path / "backup.tar"
    file.write_bytes(archive(settings))
    hub.membership.withdraw_invite("porto", "me")
    hub.store.set_state("anna", "revoked", "its laptop was stolen")
    monkeypatch.setenv("EMBRYOFL_STATE_DIR", str(tmp_path / "new"))

    def restore(*words):
        return CliRunner().invoke(commands.app, ["restore", str(file), *words])

    refused = restore()
    assert refused.exit_code and "--revoked" in str(refused.exception) and "anna" in str(refused.exception)
    assert "has no clinic 'ana'" in str(restore("--revoked", "ana").exception)
    assert list((tmp_path / "new").iterdir()) == []
    assert restore("--revoked", "anna").exit_code == 0
    store = ClinicStore(tmp_path / "new" / "clinics.db")
    assert store.keys() == {} and store.clinic("anna").state == "revoked"
    assert [invite.state for invite in store.invites()] == ["used", "withdrawn"]
    intact, words = verify_log(tmp_path / "new")
    store.close()
    assert intact, words
    assert '"event": "revoked", "clinic": "anna"' in (tmp_path / "new" / "audit.jsonl").read_text()
