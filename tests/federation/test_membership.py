"""Clinics that are revoked, leave, are renamed or change their key while the others train undisturbed."""

import json
import os
import shutil
import subprocess
import threading

import pytest

from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl_clinic.joining.enrol import enrol
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.link.fleet_link import FleetLink, KeyRejected
from embryofl_demo.stack import program
from kits.enrolment import SUMMARY
from kits.federation import Federation, draw_clinic, route_to, until


def listed(federation: Federation, name: str) -> dict:
    return next(c for c in federation.stack.call("GET", "/control/clinics") if c["name"] == name)


def online(federation: Federation, *names: str) -> bool:
    """Whether all these clinics are online; False while the server restarts."""
    federation.stack.supervisor.check()
    try:
        return all(listed(federation, n)["online"] for n in names)
    except UserError:
        return False


def logged(federation: Federation, name: str, words: str) -> None:
    until(f"the log of {name} says: {words}", lambda: words in federation.log(name))


def join(federation: Federation, name: str) -> None:
    draw_clinic(federation.place.data(name), name)
    federation.join([name])
    until(f"{name} is online", lambda: listed(federation, name)["online"])


def end_membership(federation: Federation, name: str) -> None:
    if name in federation.stack.supervisor.children:
        federation.remove(name)
    for clinic in federation.stack.call("GET", "/control/clinics"):
        if clinic["name"] == name and clinic["state"] in ("enrolled", "suspended"):
            federation.stack.call("POST", "/control/revoke", {"name": name})


@pytest.fixture
def guest(federation):
    """`guest(name)`: a fourth clinic joins until the test ends."""
    names = []

    def come(name: str) -> None:
        names.append(name)
        join(federation, name)

    yield come
    for name in names:
        end_membership(federation, name)


@pytest.fixture(scope="module")
def member(federation):
    """The name of a fourth clinic that several tests share; the last of them makes it leave."""
    join(federation, "guest-2")
    yield "guest-2"
    end_membership(federation, "guest-2")


def test_revoked_clinic_stays_locked_out_and_the_run_continues(federation, guest, tmp_path):
    guest("guest-1")
    stolen = ClinicIdentity(federation.place.clinic("guest-1") / "identity")
    run = federation.start_run(rounds=3, min_clinics=3)
    federation.under_way(run, 1)
    pids = federation.stack.supervisor.pids()
    federation.stack.call("POST", "/control/revoke", {"name": "guest-1", "reason": "its laptop was stolen"})
    until("its connection has ended", lambda: not listed(federation, "guest-1")["online"])
    logged(federation, "guest-1", "its laptop was stolen. Its key never works again")
    over = federation.wait_over(run)
    assert over["state"] == "finished", over["reason"]
    assert all({"clinic-1", "clinic-2", "clinic-3"} <= set(r["clinics"]) for r in federation.records(run)[1:])
    assert federation.stack.supervisor.pids() == pids  # no process was restarted, not even the revoked clinic's

    def key_is_rejected() -> bool:
        link = FleetLink(route_to(federation.port, federation.ca, stolen.key), stolen.key, tmp_path, threading.Event())
        try:
            link.connect()
        except KeyRejected:
            return True
        finally:
            link.close()
        return False

    assert key_is_rejected()
    invite = Invite.parse(federation.stack.call("POST", "/control/invites", {"name": "guest-1"})["invite"])
    with pytest.raises(UserError, match="never works again"):
        enrol(stolen, invite, "quality", SUMMARY, threading.Event())
    for part in ("superlink", "server"):  # the supervisor restarts them; the SuperLink starts empty
        federation.stack.supervisor.children[part].process.kill()
        until(f"the {part} is away", lambda: not online(federation, "clinic-1"))
        until("the others are online again", lambda: online(federation, "clinic-1", "clinic-2", "clinic-3"))
        assert key_is_rejected()


def test_join_shows_exactly_what_it_sends_and_can_be_repeated(federation):
    draw_clinic(federation.place.data("guest-3"), "guest-3", patients=24, label=None)
    code = federation.stack.call("POST", "/control/invites", {"name": "guest-3"})["invite"]
    try:
        done = federation.clinic("guest-3", "join", stdin=code)
        assert done.returncode == 0, done.stderr
        sent = listed(federation, "guest-3")["summary"]
        shown = done.stdout[done.stdout.index("This is sent to the hub now") :]
        assert f"patients: {sent['patients']}" in shown and "unlabelled: <5" in shown
        for day, counts in sent["counts"].items():
            assert f"day {day}: label 1: {counts['1']}, label 0: {counts['0']}" in shown
        assert (
            listed(federation, "guest-3")["key"] in shown and Invite.parse(code).secret not in done.stdout + done.stderr
        )
        again = federation.clinic("guest-3", "join", stdin=code)
        assert again.returncode == 0 and "has already joined, as guest-3" in again.stdout
        (federation.place.clinic("guest-3") / "identity" / "hub.json").unlink()  # as if the reply was lost
        again = federation.clinic("guest-3", "join", stdin=code)
        assert again.returncode == 0 and len([c for c in federation.audit("enrolled") if c["clinic"] == "guest-3"]) == 1
        # the same invite, another key
        draw_clinic(federation.place.data("guest-4"), "guest-4")
        thief = federation.clinic("guest-4", "join", stdin=code)
        assert thief.returncode == 2 and "already been used with another key" in thief.stderr
    finally:
        federation.stack.call("POST", "/control/revoke", {"name": "guest-3"})


def test_renamed_clinic_continues_under_its_new_name_without_a_restart(federation, guest):
    guest("guest-5")
    pid = federation.pid("guest-5")
    federation.stack.call("POST", "/control/rename", {"name": "guest-5", "to": "guest-6"})
    logged(federation, "guest-5", "has renamed this clinic from guest-5 to guest-6")
    try:
        until("the clinic is online under its new name", lambda: online(federation, "guest-6"))
        run = federation.start_run(rounds=1, min_clinics=4)
        assert federation.wait_over(run)["state"] == "finished"
        assert "guest-6" in federation.records(run)[1]["clinics"] and federation.pid("guest-5") == pid
    finally:
        federation.stack.call("POST", "/control/revoke", {"name": "guest-6"})


def test_copied_key_in_use_is_detected(federation, member, tmp_path):
    copy = tmp_path / "state"
    shutil.copytree(federation.place.clinic(member) / "identity", copy / "identity")
    with (tmp_path / "log").open("wb") as log:
        thief = subprocess.Popen(
            [program("embryofl-clinic"), "run", "--state", str(copy)],
            env={**os.environ, "EMBRYOFL_DATA_DIR": str(federation.place.data(member))},
            stdout=log,
            stderr=log,
        )
        try:
            until(
                "the second process is detected",
                lambda: "two places" in federation.status()["clinics"][member]["detail"],
            )
        finally:
            thief.kill()
            thief.wait()
    values = [x for x in federation.metrics().splitlines() if x.startswith("embryofl_clinic_sessions{")]
    assert {x for x in values if not x.endswith(" 1.0")} == {f'embryofl_clinic_sessions{{clinic="{member}"}} 2.0'}
    assert [e["clinic"] for e in federation.audit("key_used_twice")] == [member]


def test_key_is_rotated_during_a_run_and_the_old_one_is_rejected(federation, member, tmp_path):
    shutil.copytree(federation.place.clinic(member) / "identity", tmp_path / "identity")
    old, before = ClinicIdentity(tmp_path / "identity"), listed(federation, member)["key"]
    pid, run = federation.pid(member), federation.start_run(rounds=3, min_clinics=4)
    federation.under_way(run, 1)
    done = federation.clinic(member, "rotate-key")
    assert done.returncode == 0 and before in done.stdout, done.stderr
    assert listed(federation, member)["key"] not in ("", before)
    assert '"kind":"key"' in (federation.place.clinic(member) / "sent.jsonl").read_text()
    over = federation.wait_over(run)
    assert over["state"] == "finished", over["reason"]
    assert all(member in r["clinics"] for r in federation.records(run)[1:]) and federation.pid(member) == pid
    link = FleetLink(route_to(federation.port, federation.ca, old.key), old.key, tmp_path, threading.Event())
    with pytest.raises(KeyRejected):
        link.connect()
    link.close()
    # interrupted after the hub accepted the new key and before the old one was replaced: the command is run again
    place = federation.place.clinic(member) / "identity"
    (place / "clinic.key").rename(place / "clinic.key.next")
    shutil.copy(tmp_path / "identity" / "clinic.key", place / "clinic.key")
    assert "rotate-key` was cut off" in federation.clinic(member, "status").stdout
    assert federation.clinic(member, "rotate-key").returncode == 0
    assert federation.clinic(member, "status").returncode == 0
    assert [e["clinic"] for e in federation.audit("key_changed")].count(member) == 1


def test_clinic_checks_its_status_and_leaves(federation, member):
    key = listed(federation, member)["key"]
    status = federation.clinic(member, "status")
    assert (
        status.returncode == 0
        and key in status.stdout
        and "takes part" in status.stdout
        and "is connected" in status.stdout
    )
    (federation.place.clinic(member) / "policy.toml").write_text('models = ["resnet18"]\n')
    run = federation.start_run(rounds=1, min_clinics=4, quorum=3)
    assert federation.wait_over(run)["state"] == "finished"
    (record,) = federation.records(run)[1:]
    assert record["refused"][member] == "clinic_refused"
    status = federation.clinic(member, "status")
    assert "models = ['resnet18']" in status.stdout and "does not train small_cnn, only resnet18" in status.stdout
    left = federation.clinic(member, "leave", "--yes")
    assert left.returncode == 0 and "has left" in left.stdout, left.stderr
    until("the clinic is offline", lambda: not listed(federation, member)["online"])
    assert listed(federation, member)["state"] == "left"
    logged(federation, member, "has left the federation")
    status = federation.clinic(member, "status")
    assert status.returncode == 1 and "never works again" in status.stdout
    last = json.loads((federation.place.clinic(member) / "sent.jsonl").read_text().splitlines()[-1])
    assert last["kind"] == "leaving" and last["bytes"] > 200  # recorded in the clinic's log of sent data, too
    again = federation.clinic(member, "leave", "--yes")
    assert again.returncode == 2 and "already left" in again.stderr and "Traceback" not in again.stderr
    assert all(online(federation, f"clinic-{i}") for i in (1, 2, 3))


def test_coordinators_commands_print_invites_and_list_clinics(federation):
    sent = federation.hub("invite", "porto", "--days", "3").stdout
    code = next(x for x in sent.splitlines() if x.startswith("embryofl1."))
    assert sent.count(code) == 1  # and so on no command line
    docker = next(x for x in sent.splitlines() if x.startswith("docker run"))
    for limit in ("--read-only", "--cap-drop ALL", "no-new-privileges", "--memory", "--pids-limit"):
        assert limit in docker, limit
    assert Invite.parse(code).name == "porto" and "podman run" in sent and "embryofl-clinic run" in sent
    alone = federation.hub("invite", "--code", "porto").stdout
    assert Invite.parse(alone).secret != Invite.parse(code).secret and len(alone.split()) == 1
    invites = federation.hub("invites").stdout
    assert "Withdrawn" in invites and "Open" in invites and Invite.parse(alone).secret not in invites
    assert federation.hub("withdraw", "porto").returncode == 0
    again = federation.hub("withdraw", "porto")
    assert again.returncode == 2 and "no unused invite" in again.stderr and "Traceback" not in again.stderr
    table = federation.hub("clinics").stdout
    for name in ("clinic-1", "clinic-2", "clinic-3"):
        assert f"\n{name}  " in table and listed(federation, name)["key"] in table
    clinics = json.loads(federation.hub("clinics", "--json").stdout)
    assert {"clinic-1", "clinic-2", "clinic-3"} <= {c["name"] for c in clinics if c["state"] == "enrolled"}
    for words in (
        ("approve", "clinic-1"),
        ("revoke", "nobody"),
        ("rename", "clinic-1", "clinic-2"),
        ("invite", "clinic-1"),
    ):
        rejected = federation.hub(*words)
        assert rejected.returncode == 2 and rejected.stderr.strip() and "Traceback" not in rejected.stderr, words
