"""Backup and restore: the complete state, taken while the hub runs and encrypted; damaged, foreign and hostile archives are
rejected."""

import errno
import hashlib
import io
import json
import tarfile
import tempfile
import threading
from pathlib import Path

import pyrage
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
from embryofl_server.state.encryption import decrypted, encrypted, sealed, unsealed
from embryofl_server.state.signer.authority import put_back, saved
from kits.hubs import hub_settings

PASSPHRASE = "three clinics in one sum"
PRIVATE, OTHERS = (
    pyrage.x25519.Identity.generate(),
    pyrage.x25519.Identity.generate(),
)  # keys: each passphrase takes a second
KEY = openssh(ec.derive_private_key(1, ec.SECP384R1()))


@pytest.fixture
def settings(tmp_path):
    return hub_settings(tmp_path / "hub")


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
    public = str(PRIVATE.to_public())
    write_backup(settings, out, sealed(saved(settings.signer), "", public), "", public)
    return out.getvalue()


def restore(settings, data: bytes):
    contents = read_backup(settings, io.BytesIO(data), str(PRIVATE))
    put_back(settings.signer, unsealed(contents.authority, str(PRIVATE)))
    return contents


def new_hub_settings(tmp_path):
    return hub_settings(tmp_path / "elsewhere" / "hub")


def test_restored_hub_is_identical(hub, settings, tmp_path, packed):
    other = new_hub_settings(tmp_path)
    contents = restore(other, archive(settings))
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
            assert twin.stat().st_mode == path.stat().st_mode
            assert twin.read_bytes() == path.read_bytes()
    assert (other.signer / "ca.key").read_bytes() == (settings.signer / "ca.key").read_bytes()
    assert again.contact.signed().replaces(hub.contact.current())  # clinics may know a later statement than the backup
    assert again.contact.current().issued > hub.contact.current().issued
    assert not list(other.state_dir.glob(".restore-*"))
    again.store.close()


def test_backup_during_work_is_complete(hub, settings, tmp_path, packed):
    """While archives are made, rounds are saved and pruned, clinics join and the log grows as fast as possible."""
    run, stop = hub.runs.get("run-0001"), threading.Event()
    rounds = Checkpoints(run.folder, settings.weights / run.name, 50)  # in memory, rounds take a millisecond

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
            restore(other, archive(settings))
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
        restore(settings, archive(settings))
    assert hub.store.clinics()


def entries(data: bytes, folder) -> dict[str, bytes]:
    with decrypted(io.BytesIO(data), str(PRIVATE), folder) as content, tarfile.open(fileobj=content) as tar:
        return {e.name: tar.extractfile(e).read() for e in tar}


def tar_of(files: dict[str, bytes], special: tarfile.TarInfo | None = None, mode: int = 0o600) -> bytes:
    """A tar file; sums that are in `files` already stay as they are."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
        if special:
            tar.addfile(special)
    return out.getvalue()


def made_of(files: dict[str, bytes], special: tarfile.TarInfo | None = None, mode: int = 0o600, key=PRIVATE) -> bytes:
    """Such a tar file, encrypted, as somebody can make it who knows the public key."""
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, encrypted(out, Path(folder), "", str(key.to_public())) as content:
        content.write(tar_of(files, special, mode))
    return out.getvalue()


def with_sums(files: dict[str, bytes]) -> dict[str, bytes]:
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != SUMS}
    return {**files, SUMS: json.dumps(sums).encode()}


def link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


BAD = {
    "cut off": lambda f, d: d[: len(d) // 2],
    "nothing": lambda f, d: b"",
    "no archive": lambda f, d: b"hello" * 1000,
    "the key alone": lambda f, d: d[: d.index(b"-----END")],
    "encrypted, but no archive": lambda f, d: made_of({}),
    "without sums": lambda f, d: made_of({n: x for n, x in f.items() if n != SUMS}),
    "a file changed": lambda f, d: made_of({**f, "identity/ca.crt": b"another"}),
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
        restore(other, BAD[how](entries(data, tmp_path), data))
    assert "archive" in str(caught.value) and len(str(caught.value)) < 400
    assert list(other.state_dir.iterdir()) == [] and not (tmp_path / "elsewhere" / "evil").exists()


def content_of(data: bytes) -> int:
    """Where the second part of an encrypted file begins."""
    return data.index(b"age-encryption.org/v1")


def changed(data: bytes, place: int) -> bytes:
    return data[:place] + (b"B" if data[place:][:1] == b"A" else b"A") + data[place:][1:]


def one_block(data: bytes) -> bytes:
    """Complete blocks of the content without the last one."""
    begin = data.index(b"\n", data.index(b"\n--- ", content_of(data)) + 1) + 1 + 16
    assert len(data) > begin + 65552
    return data[: begin + 65552]


FORGED = {
    "one byte changed": lambda f, d: changed(d, len(d) - 1000),
    "a byte of the key changed": lambda f, d: changed(d, 120),
    "cut off between blocks": lambda f, d: one_block(d),
    "something added": lambda f, d: d + b"x" * 20,
    "not encrypted": lambda f, d: tar_of(with_sums({**f, "identity/ca.crt": b"another"})),
    "another key": lambda f, d: made_of(with_sums({**f, "identity/ca.crt": b"another"}), key=OTHERS),
    "another content behind the key": lambda f, d: d[: content_of(d)] + tail(others(f)),
}


def tail(data: bytes) -> bytes:
    return data[content_of(data) :]


def others(files: dict[str, bytes]) -> bytes:
    return made_of(files, key=OTHERS)


@pytest.mark.parametrize("how", FORGED)
def test_archive_that_was_changed_or_made_with_another_secret_is_rejected(hub, settings, tmp_path, how):
    """Its sums fit where it has any; that is what an archive without encryption could not tell."""
    data, other = archive(settings), new_hub_settings(tmp_path)
    forged = FORGED[how](entries(data, tmp_path), data)
    assert forged != data
    with pytest.raises(UserError, match="(?s)archive .*Expected a complete file written by `make backup`") as caught:
        restore(other, forged)
    assert len(str(caught.value)) < 400 and list(other.state_dir.iterdir()) == []
    restore(other, data)  # the one that was not changed


def test_archive_does_not_choose_the_modes_of_files(hub, settings, tmp_path):
    other = new_hub_settings(tmp_path)
    restore(other, made_of(entries(archive(settings), tmp_path), mode=0o777))
    modes = {
        p.relative_to(other.state_dir): p.stat().st_mode & 0o777 for p in other.state_dir.rglob("*") if p.is_file()
    }
    assert set(modes.values()) == {0o600, 0o644}
    for name in ("clinics.db", "identity/url.key", "identity/control.token", "identity/superlink/superexec.secret"):
        assert modes[Path(name)] == 0o600, name


@pytest.fixture
def cli(settings, tmp_path, monkeypatch):
    """Run a command at the hub, or with `where` at another folder, after or before that of the signer, as `make backup` and
    `make restore` do; `typed` is their standard input."""
    authority = tmp_path / "authority.age"

    def run(*words, typed):
        return CliRunner().invoke(commands.app, [str(word) for word in words], input=typed)

    def invoke(command, file, *words, typed="", where=settings.state_dir):
        monkeypatch.setenv("EMBRYOFL_STATE_DIR", str(where))
        if command == "backup":
            done = run("signer", "backup", authority, *words, typed=typed)
            return done if done.exit_code else run("backup", file, "--authority", authority, *words, typed=typed)
        done = run("restore", file, "--authority", authority, *words, typed=typed)
        return run("signer", "restore", authority, typed=typed) if done.exit_code == 0 else done

    return invoke


def test_backup_shows_nothing_to_those_who_find_it(hub, settings, tmp_path, cli):
    file = tmp_path / "hub.age"
    done = cli("backup", file, typed=f"{PASSPHRASE}\n")
    assert done.exit_code == 0 and "1 runs, 1 clinics" in done.output and "nobody can restore" in done.output
    assert file.stat().st_mode & 0o777 == 0o600
    found = file.read_bytes()
    assert PASSPHRASE.encode() not in found and b"anna" not in found and b"clinics.db" not in found
    for path in (settings.state_dir / "identity").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert len(content) < 16 or content not in found, path  # a few bytes are in any file
    assert b"PRIVATE KEY" not in (tmp_path / "authority.age").read_bytes()
    done = cli("restore", file, "--revoked", "none", typed="another passphrase\n", where=tmp_path / "new")
    assert "has another passphrase" in str(done.exception) and list((tmp_path / "new").iterdir()) == []
    done = cli("restore", file, "--revoked", "none", typed=f"{PASSPHRASE}\n", where=tmp_path / "new")
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "new-signer" / "ca.key").read_bytes() == (settings.signer / "ca.key").read_bytes()


def test_backup_to_a_public_key_is_restored_with_the_private_key_only(hub, settings, tmp_path, cli):
    file, public = tmp_path / "hub.age", str(PRIVATE.to_public())
    done = cli("backup", file, "--to", public)
    assert done.exit_code == 0 and public in done.output
    for wrong in (str(OTHERS), PASSPHRASE, "AGE-SECRET-KEY-1BUTNOT"):
        done = cli("restore", file, "--revoked", "none", typed=f"{wrong}\n", where=tmp_path / "new")
        assert "has another passphrase or key" in str(done.exception), wrong
    key_file = f"# created: today\n# public key: {public}\n{PRIVATE}\n"  # as age-keygen writes it
    done = cli("restore", file, "--revoked", "none", typed=key_file, where=tmp_path / "new")
    assert done.exit_code == 0, done.exception


@pytest.mark.parametrize("typed", ["", "\n", "short\n", "AGE-SECRET-KEY-1QQQQQQQQ\n"])
def test_backup_without_a_good_passphrase_is_not_made(hub, tmp_path, cli, typed):
    assert "at least 12 characters" in str(cli("backup", tmp_path / "hub.age", typed=typed).exception)
    assert "not a public key" in str(cli("backup", tmp_path / "hub.age", "--to", "age1nobody").exception)
    assert not (tmp_path / "hub.age").exists()


def test_backup_that_cannot_be_made_or_read_says_why(hub, tmp_path, cli, monkeypatch):
    assert "is not a file" in str(cli("restore", tmp_path / "missing").exception)
    no = cli("backup", tmp_path / "x", typed=f"{PASSPHRASE}\n", where=tmp_path / "nobody")
    assert "not a signer's folder" in str(no.exception) and not (tmp_path / "x").exists()
    (tmp_path / "empty").touch()
    monkeypatch.setenv("EMBRYOFL_STATE_DIR", str(tmp_path / "nobody"))
    words = ["backup", str(tmp_path / "x"), "--authority", str(tmp_path / "empty")]
    no = CliRunner().invoke(commands.app, words, input=f"{PASSPHRASE}\n")
    assert "not a hub's state" in str(no.exception) and not (tmp_path / "x").exists()
    monkeypatch.setenv("EMBRYOFL_STATE_DIR", str(tmp_path / "hub"))
    no = CliRunner().invoke(commands.app, words, input=f"{PASSPHRASE}\n")
    assert "authority's key is missing" in str(no.exception) and not (tmp_path / "x").exists()


class FullDisk(io.BytesIO):
    def write(self, data) -> int:
        if self.tell() > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_backup_that_fails_halfway_ends_with_the_reason_and_is_no_archive(tmp_path):
    out, public = io.BytesIO(), str(PRIVATE.to_public())
    with pytest.raises(EOFError, match="a folder is gone"), encrypted(out, tmp_path, "", public) as content:
        content.write(bytes(10_000))
        raise EOFError("a folder is gone")
    assert out.getvalue() == b"" and list(tmp_path.iterdir()) == []
    with pytest.raises(Exception, match="No space left"), encrypted(FullDisk(), tmp_path, "", public) as content:
        content.write(bytes(1_000_000))


def test_clinic_that_was_revoked_after_a_backup_is_no_member_of_the_restored_hub(hub, settings, tmp_path, cli):
    hub.store.invite("porto", 7)
    file = tmp_path / "hub.age"
    file.write_bytes(archive(settings))
    hub.membership.withdraw_invite("porto", "me")
    hub.store.set_state("anna", "revoked", "its laptop was stolen")

    def restore(*words):
        return cli("restore", file, *words, typed=f"{PRIVATE}\n", where=tmp_path / "new")

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
