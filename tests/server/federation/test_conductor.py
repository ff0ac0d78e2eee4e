"""Runs are queued, paused, resumed and stopped in order; without a SuperLink."""

import json

import numpy as np
import pytest

from embryofl.errors import UserError
from embryofl_server.api.status import status
from kits.hubs import hub_at


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "resnet999"}, ["resnet999", "small_cnn", "resnet18"]),
        ({"strategy": "fedmagic"}, ["fedmagic", "fedavg"]),
        ({"ronuds": 3}, ["ronuds", "rounds"]),
        ({"pretrained": "/nowhere.safetensors"}, ["/nowhere.safetensors"]),
    ],
)
def test_unusable_run_is_rejected_and_leaves_nothing(hub, values, words):
    with pytest.raises(UserError) as caught:
        hub.conductor.queue(values)
    assert all(w in str(caught.value) for w in words)
    assert hub.runs.all() == [] and list((hub.settings.state_dir / "runs").iterdir()) == []


def test_unusable_initial_weights_are_rejected(hub, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"hello")
    for path in (tmp_path / "x.safetensors", tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match="cannot be used"):
            hub.conductor.queue({}, str(path))
    assert hub.runs.all() == []


@pytest.fixture
def start(hub, tmp_path, packed):
    """Queue a run from given weights."""
    packed(0).tofile(tmp_path / "x.safetensors")
    return lambda **values: hub.conductor.queue(values, str(tmp_path / "x.safetensors"), by="somebody")


def test_second_run_is_queued(hub, start, packed):
    first, second = start(rounds=3), start()
    assert [r.state["state"] for r in (first, second)] == ["queued", "queued"]
    assert hub.runs.next() == first and status(hub, hub.overview.now())["run"]["name"] == first.name
    assert status(hub, hub.overview.now())["queued"] == [second.name]
    first.set_state("finished", 3)
    assert hub.runs.next() == second
    stored = np.fromfile(hub.settings.weights / first.name / "round-0000.safetensors", np.uint8)
    assert stored.tobytes() == packed(0).tobytes()


def test_run_whose_initial_model_was_summed_with_other_settings_is_rejected(hub, start):
    """Clinics would decline in every attempt, for a day."""
    masked = {"min_clinics": 3, "seed": 1}
    first = start(rounds=3, **masked)
    assert start(rounds=4, **masked)  # nothing has been summed yet
    first.set_state("finished", 3)
    with pytest.raises(UserError, match=rf"same model as {first.name}.*Give another seed"):
        start(rounds=4, **masked)
    assert start(rounds=3, **masked) and start(rounds=4, **masked, secure_aggregation="off")


def test_paused_run_stays_paused_until_resumed_and_lets_others_pass(hub, start, tmp_path):
    first, second, third = start(), start(), start()
    hub.conductor.pause(second.name, by="somebody")
    assert second.state["state"] == "paused"
    first.set_state("finished", 3)
    assert hub.runs.next() == third
    hub.store.close()
    again = hub_at(tmp_path / "hub")  # a restart
    assert again.runs.get(second.name).state["state"] == "paused" and again.runs.next() == third
    assert status(again, again.overview.now())["paused"] == [second.name]
    assert again.conductor.resume(by="somebody") == second and again.runs.next() == second
    again.store.close()


def test_queued_run_can_be_stopped(hub, start):
    first, second = start(), start()
    hub.conductor.stop(second.name, by="somebody")
    assert second.state["state"] == "stopped" and hub.runs.next() == first
    ended = [
        e
        for e in map(json.loads, (hub.settings.state_dir / "audit.jsonl").read_text().splitlines())
        if e["event"] == "run_ended"
    ]
    assert [(e["run"], e["state"], e["by"]) for e in ended] == [(second.name, "stopped", "somebody")]


def test_runs_that_cannot_be_stopped_paused_or_resumed_are_named(hub, start):
    for steer in (hub.conductor.stop, hub.conductor.pause, hub.conductor.resume):
        with pytest.raises(UserError, match="nothing to"):
            steer()
        with pytest.raises(UserError, match="no run 'run-0009'"):
            steer("run-0009")
    run, other = start(), start()
    hub.conductor.pause(other.name)
    with pytest.raises(UserError, match="paused"):
        hub.conductor.pause(other.name)
    with pytest.raises(UserError, match="queued, not paused"):
        hub.conductor.resume(run.name)
    run.set_state("finished", 1)
    for steer in (hub.conductor.stop, hub.conductor.pause):
        with pytest.raises(UserError, match="is finished"):
            steer(run.name)


def test_start_of_a_run_is_in_the_audit_log_with_person_and_settings(hub, start):
    start(rounds=3, seed=5)
    (line,) = [
        e
        for e in map(json.loads, (hub.settings.state_dir / "audit.jsonl").read_text().splitlines())
        if e["event"] == "run_started"
    ]
    assert line["by"] == "somebody" and line["settings"]["rounds"] == 3 and line["settings"]["seed"] == 5
