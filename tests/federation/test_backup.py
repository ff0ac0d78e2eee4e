"""A backup made during a run and restored to an empty folder: clinics see the same hub, and the run continues."""

import os
import signal

PASSPHRASE = "three clinics in one sum\n"


def hub_command(federation, *words, stdin=""):
    done = federation.hub(*words, stdin=stdin)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_clinics_continue_unchanged_with_a_hub_restored_from_a_backup(federation, reference, tmp_path):
    names, file, authority = ["clinic-1", "clinic-2", "clinic-3"], str(tmp_path / "hub.age"), str(tmp_path / "key.age")
    before = {n: federation.pid(n) for n in names}
    run = federation.start_run(rounds=4)
    federation.under_way(run, 2)
    os.kill(before["clinic-2"], signal.SIGSTOP)  # so that the run is still under way when the backup is made
    try:
        hub_command(federation, "signer", "backup", authority, stdin=PASSPHRASE)
        words = hub_command(federation, "backup", file, "--authority", authority, stdin=PASSPHRASE)
    finally:
        os.kill(before["clinic-2"], signal.SIGCONT)
    assert "encrypted to the passphrase" in words and (tmp_path / "hub.age").stat().st_mode & 0o777 == 0o600
    federation.wait_over(run)  # the old hub continues for a while, and is then lost with its disk
    for part in ("gateway", "superlink", "server", "signer"):
        federation.remove(part)
    federation.place.hub.rename(tmp_path / "lost")
    federation.place.hub.with_name("hub-signer").rename(tmp_path / "lost-signer")

    words = hub_command(federation, "restore", file, "--authority", authority, "--revoked", "none", stdin=PASSPHRASE)
    assert "Restored" in words
    hub_command(federation, "signer", "restore", authority, stdin=PASSPHRASE)
    federation.stack.start_hub()
    ended = federation.wait_over(run)
    assert ended["state"] == "finished" and federation.events(run, "resumed"), (ended, federation.logs())
    assert (federation.folder(run) / "model.safetensors").read_bytes() == (reference / "model.safetensors").read_bytes()
    assert {n: federation.pid(n) for n in names} == before  # no clinic was restarted or enrolled again
    enrolled = [e["clinic"] for e in federation.audit("enrolled")]
    assert len(set(enrolled)) == len(enrolled) and set(enrolled) >= set(names)
    assert "intact" in hub_command(federation, "audit", "verify")
