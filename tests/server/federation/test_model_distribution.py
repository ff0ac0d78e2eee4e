"""Which finished model a clinic is offered, and which parts of its card the clinic can read."""

import hashlib
import json

import pytest

from embryofl.settings import RunSettings
from embryofl_server.federation import model_distribution as module
from embryofl_server.federation.blobs import SignedUrls
from embryofl_server.federation.model_distribution import ModelDistribution
from embryofl_server.runs.log import Runs
from embryofl_server.runs.view import RunViews


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHECK_S", 0.0)
    runs, urls = Runs(tmp_path / "runs"), SignedUrls(b"key", lambda name: True)

    def finish(*clinics, state="finished"):
        run = runs.create(RunSettings())
        data = run.name.encode()
        card = {
            "run": run.name,
            "round": 2,
            "sha256": hashlib.sha256(data).hexdigest(),
            "evaluation": {c: {} for c in clinics},
            "metrics": [{"clinic": c} for c in clinics],
            "calibration": None,
        }
        (tmp_path / "weights" / run.name).mkdir(parents=True)
        (tmp_path / "weights" / run.name / "round-0002.safetensors").write_bytes(data)
        (run.folder / "model.json").write_text(json.dumps(card))
        run.set_state(state, 2)
        return run.name

    return ModelDistribution(RunViews(runs), tmp_path / "weights", urls), finish, urls, tmp_path / "weights"


def test_clinic_is_offered_the_newest_finished_model_it_took_part_in(hub):
    models, finish, urls, weights = hub
    assert models.offer("anna") is None
    first, second = finish("anna", "berta"), finish("berta")
    finish("anna", state="stopped")
    assert models.offer("anna").run == first and models.offer("berta").run == second and models.offer("carla") is None
    offer = models.offer("anna")
    for download in (offer.weights, offer.card):
        path = urls.check("GET", download.url).removeprefix("/v1/model/")
        data = (weights / path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (download.size, download.sha256)


def test_card_for_clinics_names_no_clinic(hub):
    models, finish, _, weights = hub
    run = finish("anna", "berta")
    models.offer("anna")
    card = (weights / run / "model.json").read_text()
    assert "berta" not in card and json.loads(card)["run"] == run and "calibration" in card
