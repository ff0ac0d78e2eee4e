"""The control API's routes for the console: what they return, how cheap the most frequent one is, and what they withhold."""

import hashlib
import json

import pytest

from embryofl.models import FACTS, model_names
from embryofl.settings import RunSettings
from embryofl_server.api.runs import FILES
from embryofl_server.federation.strategies import strategy_names
from embryofl_server.runs.estimate import TRAINING_SHARE
from embryofl_server.runs.view import MOST_POINTS, RunView
from kits.enrolment import join
from kits.hubs import client_of, headers_of

SUMMARY = {"counts": {"5": {"1": 40, "0": 60, "unlabelled": "<5"}}, "patients": 20}


@pytest.fixture
def hub(hub):
    for name in ("oslo", "porto"):
        join(hub, name, summary=SUMMARY)
    return hub


@pytest.fixture
def client(hub):
    return client_of(hub, headers_of(hub))


@pytest.fixture
def run(hub):
    """A finished run of two rounds, in which one reply of porto was rejected."""
    finished = hub.runs.create(RunSettings(model="small_cnn", rounds=2, local_epochs=4, image_size=96))
    seconds = {"download": 0.5, "train": 6.0, "upload": 1.0}
    lines = []
    for number in (1, 2):
        finished.event("round", round=number, accepted=["oslo"], refused={}, seconds=10.0)
        lines.append(
            {"round": number - 1, "clinic": "pooled", "split": "validation", "day": None, "auroc": 0.6, "loss": 0.7}
        )
        for name in ("oslo", "porto")[:number]:
            lines.append(
                {
                    "round": number,
                    "clinic": name,
                    "split": "train",
                    "day": None,
                    "loss": 0.6,
                    "n": 60,
                    "seconds": seconds,
                    "device": "cpu",
                    "reconnects": 2,
                    "norm": 1.5,
                }
            )
    finished.event(
        "refused", round=1, clinic="porto", reason="norm", words="Its update is 60 times as long as the others'."
    )
    finished.add_metrics(lines)
    for name in FILES:
        (finished.folder / name).write_bytes(b'{"splits": {}}' if name.endswith("json") else b"\x00" * 1000)
    (finished.folder / "notes.txt").write_text("private")
    finished.set_state("finished", 2)
    return finished


def test_state_is_sent_again_only_when_it_has_changed(client, hub, run):
    first = client.get("/control/state")
    state = first.json()
    assert state["validated"] == 1 and state["pace"]["round_s"] == 10.0
    assert client.get("/control/courses").json() == {"pooled": [[0, 0.6, 0.7, 0.0], [1, 0.6, 0.7, 0.0]]}
    assert [(e["event"], e["clinic"]) for e in state["events"][:2]] == [("enrolled", "porto"), ("invited", "porto")]
    assert [(r["name"], r["results"], r["model"]) for r in state["runs"]] == [("run-0001", True, "small_cnn")]
    assert "hub.embryofl.internal" in state["hub"]["certificate_names"] and state["hub"]["addresses"] == [
        "localhost:8443"
    ]
    tag = {"If-None-Match": first.headers["etag"]}
    assert client.get("/control/state", headers=tag).status_code == 304
    hub.membership.suspend("oslo", "looked at", "me")
    again = client.get("/control/state", headers=tag)
    assert again.status_code == 200 and again.json()["clinics"]["oslo"]["state"] == "suspended"


def test_state_stays_small_whatever_clinics_report_and_however_long_a_run_is(client, hub, run):
    run.add_metrics(
        [
            {"round": n, "clinic": "pooled", "split": "validation", "day": None, "auroc": 0.5, "loss": 0.5}
            for n in range(2, 5000)
        ]
    )
    response = client.get("/control/state")
    assert "counts" not in response.text and "strategies" not in response.text and len(response.content) < 20_000
    curve = RunView(run).refresh().curve()
    assert len(curve) == MOST_POINTS and curve[0][0] == 0 and curve[-1][0] == 4999


def test_offers_list_all_models_and_strategies_with_descriptions_and_defaults(client):
    offers = client.get("/control/offers").json()
    assert [m["name"] for m in offers["models"]] == model_names()
    assert [s["name"] for s in offers["strategies"]] == strategy_names()
    assert all(x["words"] for x in offers["models"] + offers["strategies"])
    krum = next(s for s in offers["strategies"] if s["name"] == "krum")
    assert krum["least_clinics"] == 5 and krum["settings"] == [{"name": "attackers", "default": 1}]
    assert "attackers: how many clinics may lie" in krum["settings_words"]
    assert offers["defaults"]["rounds"] == RunSettings().rounds


def test_first_run_is_estimated_from_images_and_model(client):
    estimate = client.post("/control/estimate", json={"settings": {"model": "small_cnn", "rounds": 5}}).json()
    size = FACTS["small_cnn"].size
    assert (estimate["clinics"], estimate["clinic_bytes"], estimate["total_bytes"]) == (2, 11 * size, 22 * size)
    assert estimate["from"] == "images" and estimate["images"] == 100
    assert estimate["total_s"] == pytest.approx(5 * 100 * TRAINING_SHARE * 4 * FACTS["small_cnn"].image_s)
    unknown = client.post("/control/estimate", json={"settings": {"model": "convnext_tiny"}}).json()
    assert unknown["from"] == "nothing" and unknown["total_s"] is None


def test_later_run_is_estimated_from_measured_rounds(client, run):
    wanted = {"model": "small_cnn", "rounds": 10, "local_epochs": 4, "image_size": 96}
    estimate = client.post("/control/estimate", json={"settings": wanted}).json()
    assert (estimate["from"], estimate["run"], estimate["round_s"], estimate["total_s"]) == (
        "run",
        "run-0001",
        10.0,
        100.0,
    )
    assert estimate["model_bytes"] == 1000 and not estimate["scaled"]
    longer = client.post("/control/estimate", json={"settings": wanted | {"local_epochs": 8}}).json()
    assert longer["round_s"] == pytest.approx(4 + 2 * 6) and longer["scaled"]  # only training takes twice as long
    scaffold = client.post("/control/estimate", json={"settings": wanted | {"strategy": "scaffold"}}).json()
    assert scaffold["clinic_bytes"] == 10 * 3 * 1000 + 1000  # the drift correction is sent with the model


def test_unusable_settings_are_rejected_before_a_run_is_started(client, hub):
    for settings, words in (
        ({"model": "gpt"}, "There is no model gpt."),
        ({"strategy": "krum"}, "at least 5 clinics"),
        ({"round_deadline_s": -1}, "round_deadline_s"),
    ):
        response = client.post("/control/estimate", json={"settings": settings})
        assert response.status_code == 400 and words in response.json()["error"]
    assert hub.runs.all() == []


def test_only_listed_files_of_a_run_can_be_downloaded(client, hub, run):
    for name in FILES:
        response = client.get(f"/control/runs/run-0001/files/{name}")
        assert response.status_code == 200 and response.content == (run.folder / name).read_bytes()
        assert response.headers["content-disposition"] == f'attachment; filename="run-0001-{name}"'
    for path in (
        "run-0001/files/notes.txt",
        "run-0001/files/settings.json",
        "run-0001/files/..%2f..%2fclinics.db",
        "run-0001/files/%2fetc%2fpasswd",
        "..%2fidentity/files/model.json",
        "run-1/results",
    ):
        response = client.get(f"/control/runs/{path}")
        assert response.status_code in (404, 422), path
    hub.runs.create(RunSettings()).set_state("queued", 0)
    for path, words in (("run-0002/results", "it is queued"), ("run-0009/results", "There is no run")):
        response = client.get(f"/control/runs/{path}")
        assert response.status_code == 400 and words in response.json()["error"]


def test_clinic_record_has_rounds_network_speed_and_reasons_for_rejection(client, run):
    clinic = client.get("/control/clinics/porto").json()
    assert SUMMARY.items() <= clinic["summary"].items() and [r["round"] for r in clinic["rounds"]] == [2, 1]
    assert (clinic["rounds"][0]["answer_s"], clinic["rounds"][0]["norm"]) == (7.5, 1.5) and clinic["rounds"][1][
        "result"
    ] == "refused"
    assert "60 times as long" in clinic["rounds"][1]["words"]
    assert clinic["link"] == {"down_rate": 2000.0, "up_rate": 1000.0, "reconnects": 2}
    assert client.get("/control/clinics/nobody").status_code == 400


def test_audit_log_can_be_filtered_and_verified(client, hub, run):
    selected = client.get("/control/audit", params={"event": "enrolled", "clinic": "oslo"}).json()
    assert [e["event"] for e in selected["entries"]] == ["enrolled"] and {"invited", "enrolled"} <= set(
        selected["events"]
    )
    assert len(client.get("/control/audit", params={"last": 1}).json()["entries"]) == 1
    assert client.get("/control/audit", params={"since": "yesterday"}).status_code == 400
    assert client.get("/control/audit/verify").json()["whole"]
    log = hub.settings.state_dir / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b"oslo", b"rome", 1))
    broken = client.get("/control/audit/verify").json()
    assert not broken["whole"] and "line" in broken["words"]


def test_note_about_a_run_is_kept_and_can_be_taken_away(client, hub, run):
    assert client.get("/control/state").json()["runs"][0]["note"] == ""
    assert client.post("/control/runs/run-0001/note", json={"note": "x" * 501}).status_code == 422
    client.post("/control/runs/run-0001/note", json={"note": "All five clinics."}).raise_for_status()
    assert client.get("/control/state").json()["runs"][0]["note"] == RunView(run).note == "All five clinics."
    client.post("/control/runs/run-0001/note", json={"note": ""}).raise_for_status()
    assert client.get("/control/state").json()["runs"][0]["note"] == RunView(run).note == ""


def test_outline_has_the_fields_for_comparing_runs(client, run):
    outline = client.get("/control/runs/run-0001/outline").json()
    assert outline["settings"]["local_epochs"] == 4 and outline["curve"] == [[0, 0.6, 0.7, 0.0], [1, 0.6, 0.7, 0.0]]
    assert outline["final"] == {} and outline["state"] == "finished"


def test_invite_comes_with_a_command_for_each_way_to_run_a_clinic(client):
    made = client.post("/control/invites", json={"name": "lisbon"}).json()
    assert made["lines"].pop("code") == made["invite"]
    assert set(made["lines"]) == {"docker", "podman", "pip"}
    assert all(made["invite"] not in line and "/PATH/TO/IMAGES" in line for line in made["lines"].values())
    assert hashlib.sha256(made["invite"].encode()).hexdigest() not in json.dumps(client.get("/control/state").json())
