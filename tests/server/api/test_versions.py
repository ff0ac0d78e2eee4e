"""Hub and clinics of several versions: who takes part, and what each side is told."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console

from embryofl import protocol
from embryofl.messages import Request
from embryofl.protocol import Program
from embryofl_server.api.status import roster
from embryofl_server.cli.show_members import clinics_table
from embryofl_server.federation.run_context import RunFailed
from kits.enrolment import ask_status, enrolment, join
from kits.hubs import client_of

OLD, NEW = Program(version="0.1.0", protocol=3), Program(version="0.2.0", protocol=4)


@pytest.fixture
def next_hub(monkeypatch):
    """The hub of the next protocol."""
    monkeypatch.setattr(protocol, "PROTOCOL", NEW.protocol)


@pytest.fixture
def later_hub(monkeypatch):
    """A hub that no longer speaks today's."""
    monkeypatch.setattr(protocol, "PROTOCOL", NEW.protocol)
    monkeypatch.setattr(protocol, "OLDEST", NEW.protocol)


def table(hub):
    console = Console(width=200, record=True)
    console.print(clinics_table(roster(hub, hub.overview.now())))
    return console.export_text()


@pytest.mark.usefixtures("next_hub")
def test_each_clinic_is_shown_with_the_version_that_it_said_last(hub):
    key = ec.generate_private_key(ec.SECP384R1())
    join(hub, "anna", key=key)
    hub.membership.status(ask_status(key, "anna", asked=time.time(), program=NEW))
    assert hub.store.clinic("anna").program == NEW and "0.2.0" in table(hub)
    hub.membership.status(ask_status(key, "anna", asked=time.time() - 1000, program=OLD))  # repeated by somebody else
    assert hub.store.clinic("anna").program == NEW


@pytest.mark.usefixtures("next_hub")
def test_clinics_of_this_protocol_and_the_one_before_take_part_in_one_run(stage):
    staged = stage(rounds=1)
    for name, program in zip(staged.fleet.names, (OLD, NEW, NEW), strict=True):
        staged.store.set_choices(name, {"program": program.model_dump()})
    asked, send = {}, staged.fleet.send
    staged.fleet.send = lambda node, text, *more: (
        asked.update({node.name: Request.model_validate_json(text).protocol}) or send(node, text, *more)
    )
    staged.go()
    assert asked == {"anna": 3, "bert": 4, "cleo": 4}
    assert list(staged.checkpoints.records()[-1]["clinics"]) == staged.fleet.names


@pytest.mark.usefixtures("later_hub")
def test_clinic_that_is_too_old_is_not_asked_and_the_run_says_so(stage):
    staged = stage(rounds=1, min_clinics=2)
    for name, program in zip(staged.fleet.names, (OLD, NEW, NEW), strict=True):
        staged.store.set_choices(name, {"program": program.model_dump()})
    staged.go()
    assert {name for name, _ in staged.fleet.sent} == {"bert", "cleo"}
    with pytest.raises(
        RunFailed, match=r"2 of at least 3 clinics are online; to be updated \(embryofl-server clinics\): anna"
    ):
        stage(rounds=1, min_clinics=3, join_wait_s=0.1).go()


@pytest.mark.usefixtures("later_hub")
def test_clinic_that_is_too_old_is_told_so_and_so_is_the_coordinator(hub):
    key = ec.generate_private_key(ec.SECP384R1())
    join(hub, "anna", key=key, program=OLD)  # before the update
    api = client_of(hub)
    asked = api.post("/v1/standing", json=ask_status(key, "anna", program=OLD).model_dump() | {"since": "another form"})
    assert asked.status_code == 400
    assert "The clinic runs version 0.1.0 (protocol 3)" in asked.json()["error"]
    assert "The clinic's is too old" in asked.json()["error"] and "(C8:" in asked.json()["error"]
    assert "anna takes no part: The clinic runs version 0.1.0 (protocol 3)" in " ".join(table(hub).split())
    assert hub.store.admitted() == set()


def test_clinic_that_is_newer_than_the_hub_is_told_so_when_it_joins(hub):
    body = enrolment("anna", hub.membership.invite("anna").secret).model_dump() | {"program": NEW.model_dump()}
    joined = client_of(hub).post("/v1/enrol", json=body | {"something": "new"})
    assert joined.status_code == 400 and "The hub's is too old: ask the coordinator" in joined.json()["error"]
    assert hub.store.clinics() == {}
