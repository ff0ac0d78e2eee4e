"""Clinics that are revoked, leave, are renamed or approved while the others train: at once, and nobody else notices."""

import threading

import pytest
from federation_kit import Federation, draw_clinic, until

from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl_clinic.fleet_link import FleetLink, Refused
from embryofl_clinic.identity import Identity
from embryofl_clinic.join import join


def listed(federation: Federation, name: str) -> dict:
    return next(c for c in federation.stack.call("GET", "/control/clinics") if c["name"] == name)


def online(federation: Federation, *names: str) -> bool:
    """Whether all of them are; also while the server is being started again."""
    federation.stack.supervisor.check()
    try:
        return all(listed(federation, n)["online"] for n in names)
    except UserError:
        return False


def logged(federation: Federation, name: str, words: str) -> None:
    until(f"{name} says: {words}", lambda: words in federation.log(name), 60)


@pytest.fixture
def guest(federation):
    """`guest(name)`: a fourth clinic joins; gone at the end."""
    names = []

    def come(name: str) -> None:
        names.append(name)
        draw_clinic(federation.place.data(name), name)
        federation.join([name])
        until(f"{name} is online", lambda: listed(federation, name)["online"])

    yield come
    for name in names:
        if name in federation.stack.supervisor._children:
            federation.remove(name)
        for clinic in federation.stack.call("GET", "/control/clinics"):
            if clinic["name"] == name and clinic["state"] in ("enrolled", "suspended"):
                federation.stack.call("POST", "/control/revoke", {"name": name})


def test_a_revoked_clinic_is_out_at_once_and_for_ever_and_the_run_goes_on(federation, guest, tmp_path):
    guest("guest-1")
    stolen = Identity(federation.place.clinic("guest-1") / "identity")
    run = federation.start_run(rounds=3, min_clinics=3)
    federation.under_way(run, 1)
    pids = federation.stack.supervisor.pids()
    federation.stack.call("POST", "/control/revoke", {"name": "guest-1", "reason": "its laptop was stolen"})
    until("its key is shut out", lambda: not listed(federation, "guest-1")["online"], 10)
    logged(federation, "guest-1", "its laptop was stolen. Its key never works again")
    over = federation.wait_over(run)
    assert over["state"] == "finished", over["reason"]
    assert all({"clinic-1", "clinic-2", "clinic-3"} <= set(r["clinics"]) for r in federation.records(run)[1:])
    assert federation.stack.supervisor.pids() == pids  # nothing was restarted, the revoked clinic's process included

    def refused() -> bool:
        link = FleetLink(
            f"localhost:{federation.port}", federation.ca.read_bytes(), stolen.key, tmp_path, threading.Event()
        )
        try:
            link.connect()
        except Refused:
            return True
        finally:
            link.close()
        return False

    assert refused()
    invite = Invite.parse(federation.stack.call("POST", "/control/invites", {"name": "guest-1"})["invite"])
    with pytest.raises(UserError, match="never works again"):
        join(stolen, invite, "quality", {}, threading.Event())
    for part in ("superlink", "server"):  # started again by the supervisor, the first of them with an empty memory
        federation.stack.supervisor._children[part].process.kill()
        until(f"the {part} is away", lambda: not online(federation, "clinic-1"), 30)
        until("the others are back", lambda: online(federation, "clinic-1", "clinic-2", "clinic-3"), 90)
        assert refused()
