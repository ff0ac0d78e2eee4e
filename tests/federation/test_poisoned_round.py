"""A clinic sends a bad update under masks, where no gate can see it: the other clinics vote its model down."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kits.federation import Federation, draw_clinic

pytestmark = pytest.mark.slow

HONEST, EVIL = ["clinic-1", "clinic-2"], "evil"
SETTINGS = {
    "secure_aggregation": "required",
    "rounds": 6,
    "local_epochs": 3,
    "schedule": "constant",
    "seed": 3,
    "image_size": 32,
}
BAD = 4  # of these rounds


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Three clinics with 48 validation embryos each. In round 4, when the model is good, one of them sends an update
    as long as the bound allows."""
    federation = Federation(tmp_path_factory.mktemp("poisoned") / "place")
    for name in [*HONEST, EVIL]:
        draw_clinic(federation.place.data(name), f"{name}-V", patients=80, disc=6)
    federation.place.clinic(EVIL).mkdir(parents=True)
    (federation.place.clinic(EVIL) / "attack").write_text("honest honest honest scale honest")
    with federation.with_attacker(HONEST, EVIL):
        yield federation


@pytest.fixture(scope="module")
def undisturbed(poisoned: Federation) -> Path:
    """The folder of a run in which nothing is killed."""
    return poisoned.run(**SETTINGS)


def test_poisoned_round_is_voted_down_and_the_run_goes_on_from_the_model_before(poisoned, undisturbed):
    records = poisoned.records(undisturbed.name)
    good, bad, voted, after = records[BAD - 1 :]
    assert bad["masking"]["clipped"] == 1 and "void" not in bad
    assert voted["masking"]["alarms"] >= 2 and voted["back_to"] == good["round"]
    assert voted["sha256"] == good["sha256"] != after["sha256"] and "void" not in after
    (event,) = poisoned.events(undisturbed.name, "rolled_back")
    assert f"find the model of round {BAD} worse than that of round {BAD - 1}" in event["words"]
    (entry,) = [e for e in poisoned.audit("rolled_back") if e["run"] == undisturbed.name]
    assert (entry["round"], entry["to"], entry["model"]) == (BAD + 1, BAD - 1, good["sha256"])
    assert all("alarm leaves under the mask" in poisoned.log(name) for name in HONEST)


def test_clinic_and_hub_that_are_killed_while_clinics_vote_leave_the_weights_unchanged(poisoned, undisturbed):
    name = poisoned.start_run(**SETTINGS)
    poisoned.under_way(name, BAD + 1)
    children = poisoned.stack.supervisor.children
    for victim in ("clinic-1", "server"):
        os.kill(children[victim].process.pid, signal.SIGKILL)
        children[victim].crashes = 0
    run = poisoned.wait_over(name)
    assert run["state"] == "finished", (run["reason"], poisoned.logs())
    assert [record.get("back_to") for record in poisoned.records(name)] == [*[None] * (BAD + 1), BAD - 1, None]
    weights = [(folder / "model.safetensors").read_bytes() for folder in (poisoned.folder(name), undisturbed)]
    assert weights[0] == weights[1]
