"""Which clinics take part in a run: only those that its settings name are asked, waited for and counted."""

import io
import json

import pytest
from pydantic import ValidationError
from rich.console import Console

from embryofl.errors import UserError
from embryofl.membership import METRICS
from embryofl.messages import Request
from embryofl.settings import RunSettings
from embryofl_server.api.status import status
from embryofl_server.cli import show
from embryofl_server.federation.run_settings import check_run, parse_settings
from embryofl_server.report.pages import markdown
from embryofl_server.runs.view import RunView
from kits.enrolment import audit, enrolment, join
from kits.rounds import events

CLINICS = ("anna", "bert", "cleo", "dora")


@pytest.mark.parametrize(
    "typed",
    [
        ["clinics=cleo,anna"],
        ["rounds=3", "clinics=cleo", "anna"],  # as make and SET separate them
        ["clinics= anna, cleo ,anna"],
        ["clinics=cleo", "anna", "rounds=3"],
    ],
)
def test_clinics_are_typed_with_commas(typed):
    values = parse_settings(typed)
    assert RunSettings.model_validate(values).clinics == ["anna", "cleo"]
    assert values.get("rounds", 3) == 3


def test_names_after_another_setting_are_no_clinics():
    with pytest.raises(UserError, match="'anna' is not a setting"):
        parse_settings(["clinics=cleo", "rounds=3", "anna"])


@pytest.fixture
def enrolled(hub):
    for name in CLINICS:
        join(hub, name)
    return hub


@pytest.mark.parametrize(
    ("clinics", "words"),
    [
        ("anna,brt", "There is no clinic brt; did you mean bert? Enrolled: anna, bert, cleo."),
        ("anna,dora", "dora cannot take part: it is suspended. Expected enrolled clinics."),
    ],
)
def test_clinic_that_cannot_take_part_is_refused_at_once(enrolled, clinics, words):
    enrolled.membership.suspend("dora", "a reason", "somebody")
    with pytest.raises(UserError) as caught:
        enrolled.conductor.queue({"clinics": clinics})
    assert words in str(caught.value) and enrolled.runs.all() == []


def test_minimum_of_clinics_is_that_of_those_that_take_part(enrolled):
    assert check_run({}, enrolled.store).min_clinics == 4
    named = check_run({"clinics": "anna,bert,cleo"}, enrolled.store)
    assert named.min_clinics == 3 and named.masked_weights
    assert not check_run({"clinics": "anna,bert"}, enrolled.store).masked_weights
    with pytest.raises(UserError, match=r"min_clinics=3 cannot be reached: 2 clinics take part \(anna, bert\)"):
        check_run({"clinics": "anna,bert", "min_clinics": 3}, enrolled.store)


def test_only_policies_of_clinics_that_take_part_count(hub):
    for name in CLINICS:
        metrics = "none" if name == "dora" else "own"
        secret = hub.membership.invite(name).secret
        hub.membership.enrol(enrolment(name, secret, summary={METRICS: metrics}))
    with pytest.raises(UserError, match="dora"):
        check_run({"choose": "best"}, hub.store)
    assert check_run({"choose": "best", "clinics": "anna,bert"}, hub.store).choose == "best"


@pytest.mark.report
def test_others_are_neither_asked_nor_waited_for(stage):
    """Bert is offline all the time."""
    staged = stage(clinics=("anna", "cleo"), min_clinics=2, quorum=1.0, rounds=2)
    staged.fleet.online -= {"bert"}
    staged.go()
    assert {name for name, _ in staged.fleet.sent} == {"anna", "cleo"}
    assert [e for e in events(staged.run) if e["kind"] == "waiting"] == []
    assert all({*r["clinics"]} == {"anna", "cleo"} for r in staged.checkpoints.records()[1:])
    results = RunView(staged.run).results()
    assert results["settings"]["clinics"] == ["anna", "cleo"]
    card = json.loads((staged.run.folder / "model-card.json").read_text())
    assert card["made"]["clinics"] == "anna, cleo" and "| clinics asked | anna, cleo |" in markdown(card)
    assert "clinics asked" in (staged.run.folder / "model-card.html").read_text()


def test_run_waits_for_its_own_clinics_alone(stage):
    """Two of three clinics are online, but only one of the run's."""
    staged = stage(clinics=("anna", "cleo"), min_clinics=2, join_wait_s=0.01)
    staged.fleet.online -= {"cleo"}
    with pytest.raises(UserError, match="1 of at least 2 clinics are online after waiting .*; missing: cleo"):
        staged.go()
    staged.store.set_state("cleo", "revoked", "")
    with pytest.raises(UserError, match="no longer enrolled: cleo"):
        staged.go()


def test_record_status_and_audit_log_name_them_after_queue_and_resume(enrolled, tmp_path, packed):
    packed(0).tofile(tmp_path / "x.safetensors")
    before, run = (
        enrolled.conductor.queue({"clinics": names}, str(tmp_path / "x.safetensors")) for names in ("", "cleo,anna")
    )
    enrolled.conductor.pause(run.name)
    before.set_state("finished", 1)
    enrolled.conductor.resume(run.name)
    assert run.settings.clinics == ["anna", "cleo"]
    info = status(enrolled, enrolled.overview.now())
    console = Console(file=io.StringIO(), width=200)
    console.print(show.status(info))
    assert "Clinics of this run: anna, cleo" in console.file.getvalue()
    assert "bert" not in info["metrics_seen"]
    assert [line["clinics"] for line in audit(enrolled, "run_started")] == [[*CLINICS], ["anna", "cleo"]]


def test_clinic_that_a_run_does_not_name_does_not_train_for_it(stage, monkeypatch):
    """A hub that shows clinics a run of three could have others train, or in the sum, all the same."""
    staged = stage(rounds=1)
    sent = []
    send = staged.fleet.send
    monkeypatch.setattr(
        staged.fleet, "send", lambda node, text, *a: sent.append(json.loads(text)) or send(node, text, *a)
    )
    staged.go()
    request = next(r for r in sent if r["kind"] == "train" and r["clinic"] == "bert")
    request["settings"]["clinics"] = ["anna", "bert"]
    Request.model_validate(request)
    request["settings"]["clinics"] = ["anna", "cleo"]
    with pytest.raises(ValidationError, match="train with bert, the run is of anna, cleo"):
        Request.model_validate(request)
    Request.model_validate({**request, "kind": "evaluate"})
    keys = {**request, "kind": "keys", "clinic": "anna"}
    keys["settings"] |= {"masked_weights": "examples"}
    terms = {"run": "run-0001", "round": 1, "kind": "train", "attempt": 1, "length": 1, "bound": 1.0}
    keys["masking"] = {"terms": {**terms, "model": "0" * 64, "work": "0" * 64}, "peers": {"anna": "ssh", "cleo": "ssh"}}
    Request.model_validate(keys)
    keys["masking"]["peers"]["dora"] = "ssh"
    with pytest.raises(ValidationError, match="keys with dora, the run is of anna, cleo"):
        Request.model_validate(keys)
