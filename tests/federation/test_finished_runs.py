"""What clinics are asked about a finished run, by the commands, over real processes: external validation and an audit."""

import json

import pytest

from kits.federation import Federation, draw_clinic
from kits.policy import write_policy

pytestmark = pytest.mark.slow

TRAINED, OTHER = ["clinic-1", "clinic-2", "clinic-3"], "clinic-4"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A federation, and the name of a run of three of its four clinics."""
    federation = Federation(tmp_path_factory.mktemp("finished") / "place")
    for name in (*TRAINED, OTHER):
        draw_clinic(federation.place.data(name), name, patients=60, cohort=1)
        write_policy(federation.place.clinic(name), metrics="own")
    try:
        federation.stack.start_hub()
        federation.join([*TRAINED, OTHER])
        federation.wait_online()
        yield federation, federation.run(rounds=1, model="lite0_head", clinics=TRAINED).name
    finally:
        federation.stack.stop()


def results(federation, run):
    return json.loads((federation.folder(run) / "results.json").read_text())


def test_only_the_named_clinics_have_trained(finished):
    federation, run = finished
    (record,) = federation.records(run)[1:]
    assert [*record["clinics"]] == TRAINED
    assert not [line for line in federation.log(OTHER).splitlines() if "trained in" in line]


def test_model_is_validated_at_a_clinic_without_a_part_in_it_and_at_no_other(finished):
    federation, run = finished
    refused = federation.hub("evaluate", run, "--at", TRAINED[0])
    assert refused.returncode == 2 and "had a part in the training" in refused.stderr
    assert federation.hub("evaluate", run, "--at", OTHER).returncode == 0
    assert federation.wait_over(run)["state"] == "finished"
    assert OTHER in json.dumps(results(federation, run)["external"])
    assert OTHER in federation.hub("results", run).stdout


def test_audit_prints_what_attacks_of_the_clinics_have_found(finished):
    federation, run = finished
    done = federation.hub("audit", run)
    assert done.returncode == 0, done.stderr
    assert "Attack by how well the model fits a patient: AUROC" in done.stdout
    found = results(federation, run)["audit"]
    assert {*found["attacks"]} == {"loss", "rmia"} and OTHER not in json.dumps(found)
    assert federation.hub("audit", "run-0099").returncode == 2
