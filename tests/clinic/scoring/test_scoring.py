"""Scoring a folder: what each row means; models as files: downloading, keeping, and rejecting them with a reason."""

import csv
import io
import json
import math

import numpy as np
import pytest

from embryofl import task
from embryofl.errors import UserError
from embryofl_clinic.link.fetching import Fetcher
from embryofl_clinic.scoring import output
from embryofl_clinic.scoring.folder import read_images
from embryofl_clinic.scoring.model_store import ModelStore, chosen_models, read_model
from embryofl_clinic.scoring.network import Network, load_networks
from embryofl_clinic.scoring.score import score_folder
from embryofl_data.dataset import load_clinic_data
from kits.scoring import CALIBRATION, draw_embryo, finished_model


@pytest.fixture
def folder(tmp_path):
    """Two patients with two embryos each, one of which has two views; no labels."""
    root = tmp_path / "data"
    root.mkdir()
    rows = ["image,patient,embryo,day"]
    for number, (patient, embryo) in enumerate([("p1", "a"), ("p1", "a"), ("p1", "b"), ("p2", "c"), ("p2", "d")]):
        (root / f"{number}.png").write_bytes(draw_embryo(number))
        rows.append(f"{number}.png,{patient},{embryo},5")
    (root / "labels.csv").write_text("\n".join(rows))
    return root


def score(root, *models):
    images, _ = read_images(root)
    return score_folder(root, images, load_networks([read_model(m) for m in models]))


def test_each_embryo_has_one_row_and_a_rank_within_its_patient(folder, tmp_path):
    scores = score(folder, finished_model(tmp_path / "m"))
    assert sorted((e.cohort, e.embryo, len(e.files)) for e in scores.embryos) == [
        ("p1", "a", 2),
        ("p1", "b", 1),
        ("p2", "c", 1),
        ("p2", "d", 1),
    ]
    for cohort in ("p1", "p2"):
        rows = [e for e in scores.embryos if e.cohort == cohort]
        assert [e.rank for e in rows] == [1, 2] and rows[0].score >= rows[1].score and rows[0].of == 2


def test_scores_equal_those_in_training_with_views_averaged(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    rows = ["image,label,patient,embryo"]
    for n in range(80):
        (root / f"{n:02}.png").write_bytes(draw_embryo(n, 72))
        rows.append(f"{n:02}.png,{n // 2 % 2},p{n // 2},e{n // 2}")
    (root / "labels.csv").write_text("\n".join(rows))
    model = finished_model(tmp_path / "m")
    data = load_clinic_data(root, tmp_path / "cache", 64)
    expected = np.sort(
        np.concatenate(
            [task.predict(Network(read_model(model)).model, getattr(data, s)) for s in ("train", "validation", "test")]
        )
    )
    scores = np.sort([e.score for e in score(root, model).embryos])
    assert len(scores) == 40 and np.allclose(scores, expected, atol=1e-5)


def test_meaning_of_a_score_is_its_bin_of_validation_embryos(folder, tmp_path):
    scores = score(folder, finished_model(tmp_path / "m"))
    for e in scores.embryos:
        logit = math.log(e.score / (1 - e.score))
        probability = 1 / (1 + math.exp(-(logit / 2.0 + 0.5)))
        assert e.calibrated == pytest.approx(probability, abs=1e-6)
        row = next(r for r in CALIBRATION["table"] if r["from"] <= probability < r["to"])
        assert e.seen.share == row["good"] / row["embryos"] and e.seen.low < e.seen.share < e.seen.high


def test_missing_calibration_is_reported(folder, tmp_path):
    scores = score(folder, finished_model(tmp_path / "m", calibration=None))
    assert {e.calibrated for e in scores.embryos} == {None}


def test_several_models_give_a_range_around_the_score(folder, tmp_path):
    models = [finished_model(tmp_path / f"m{s}", seed=s, calibration=None) for s in (1, 2, 3)]
    scores = score(folder, *models)
    assert all(e.low < e.score < e.high for e in scores.embryos) and len(scores.models) == 3
    other = finished_model(
        tmp_path / "live", settings={"model": "small_cnn", "image_size": 64, "meaning": "live_birth"}
    )
    with pytest.raises(UserError, match="does not mean the same"):
        score(folder, models[0], other)


def test_several_runs_are_chosen_together_and_a_missing_one_is_named(tmp_path):
    state = tmp_path / "state"
    for number in (1, 2):
        finished_model(state / "models" / f"run-000{number}", seed=number, run=f"run-000{number}")
    chosen = chosen_models(state, ["run-0001", "run-0002", "run-0001"], [])
    assert [m.card.run for m in chosen] == ["run-0001", "run-0002"]
    assert [m.card.run for m in chosen_models(state, [], [])] == ["run-0002"]
    with pytest.raises(UserError, match="No model of run-0009 .* run-0002, run-0001"):
        chosen_models(state, ["run-0001", "run-0009"], [])


def test_sub_folders_are_cohorts_without_a_table_and_unusable_files_are_named(tmp_path):
    root = tmp_path / "data"
    for cohort in ("anna", "berta"):
        (root / cohort).mkdir(parents=True)
        for n in range(2):
            (root / cohort / f"{n}.png").write_bytes(draw_embryo(n))
    (root / "anna" / "cut.png").write_bytes(draw_embryo(9)[:700])
    scores = score(root, finished_model(tmp_path / "m"))
    assert [(e.cohort, e.rank, e.of) for e in scores.embryos] == [
        ("anna", 1, 2),
        ("anna", 2, 2),
        ("anna", None, None),
        ("berta", 1, 2),
        ("berta", 2, 2),
    ]
    assert "truncated" in scores.embryos[2].warnings[0] and scores.embryos[2].score is None


def test_dark_and_empty_images_get_warnings(tmp_path):
    from PIL import Image

    root = tmp_path / "data"
    root.mkdir()
    Image.new("RGB", (96, 96), (1, 1, 1)).save(root / "dark.png")
    Image.new("RGB", (96, 96), (150, 150, 150)).save(root / "empty.png")
    (root / "good.png").write_bytes(draw_embryo(1))
    words = {e.files[0]: " ".join(e.warnings) for e in score(root, finished_model(tmp_path / "m")).embryos}
    assert "dark" in words["dark.png"] and "no embryo" in words["empty.png"]


def test_csv_has_a_row_per_embryo_the_models_digest_and_no_formula(folder, tmp_path):
    (folder / "labels.csv").write_text("image,patient\n0.png,=cmd()\n")
    scores = score(folder, finished_model(tmp_path / "m"))
    rows = list(csv.DictReader(io.StringIO(output.as_csv(scores))))
    assert len(rows) == len(scores.embryos) and rows[0]["model_sha256"] == scores.models[0]["sha256"]
    assert any(r["cohort"] == "'=cmd()" for r in rows) and rows[0]["use"] == "research use only"
    assert json.loads(output.as_json(scores))["use"].startswith("Research use only")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": {"model": "resnet999", "image_size": 64}}, "does not know"),
        ({"settings": {"model": "lite0_head", "image_size": 64}}, "another layout"),
        ({"settings": {"model": "small_cnn", "image_size": 100_000}}, "image_size"),
        ({"sha256": "0" * 64}, "another SHA-256"),
        ({"run": "../../etc"}, "run"),
        ({"calibration": {"temperature": -1, "intercept": 0, "threshold": 0.5}}, "temperature"),
    ],
)
def test_unusable_model_is_rejected_with_the_reason(folder, tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        score(folder, finished_model(tmp_path / "m", **change))


def test_missing_model_is_reported_with_how_to_get_one(tmp_path):
    with pytest.raises(UserError, match="Take part in a run"):
        ModelStore(tmp_path).get()


class FakeHub:
    """Hands out a model's files by URL."""

    def __init__(self, files):
        self.files, self.asked = files, []

    def download(self, wanted, deadline):
        self.asked.append(wanted.url)
        return np.frombuffer(self.files[wanted.url], np.uint8)


def offer_of(model, run="run-0001"):
    import hashlib

    from embryofl.membership import FinishedModel
    from embryofl.schema import Download

    files = {"/v1/model/w": model.read_bytes(), "/v1/model/c": model.with_name("model.json").read_bytes()}
    at = [Download(url=u, size=len(d), sha256=hashlib.sha256(d).hexdigest()) for u, d in files.items()]
    return FinishedModel(run=run, weights=at[0], card=at[1]), FakeHub(files)


def fetch(state, offer, hub):
    from embryofl_clinic.joining.clock import HubClock

    state.mkdir(exist_ok=True)
    fetcher = Fetcher(state, HubClock())
    for _ in range(2):
        fetcher.consider(offer, hub)
        if fetcher.thread:
            fetcher.thread.join(20)
    return [m.card.run for m in ModelStore(state).all()]


def test_finished_model_is_downloaded_once(tmp_path):
    offer, hub = offer_of(finished_model(tmp_path / "m"))
    assert fetch(tmp_path / "state", offer, hub) == ["run-0001"]
    assert sorted(hub.asked) == ["/v1/model/c", "/v1/model/w"]


def test_policy_can_forbid_the_download(tmp_path):
    offer, hub = offer_of(finished_model(tmp_path / "m"))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "policy.toml").write_text("keep_models = 0\n")
    assert fetch(tmp_path / "state", offer, hub) == [] and hub.asked == []


@pytest.mark.parametrize("change", [{"run": "run-0002"}, {"sha256": "1" * 64}])
def test_model_with_the_card_of_another_is_not_kept(tmp_path, change):
    offer, hub = offer_of(finished_model(tmp_path / "m", **change))
    assert fetch(tmp_path / "state", offer, hub) == [] and len(hub.asked) == 2  # and not fetched again


def test_only_the_newest_models_are_kept(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "policy.toml").write_text("keep_models = 2\n")
    for number in range(1, 4):
        run = f"run-000{number}"
        offer, hub = offer_of(finished_model(tmp_path / run, seed=number, run=run), run)
        runs = fetch(tmp_path / "state", offer, hub)
    assert runs == ["run-0003", "run-0002"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["small_cnn", "lite0_head"])
def test_onnx_gives_the_same_logits(tmp_path, model):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs embryofl-clinic[onnx]")
    from embryofl_clinic.scoring.export import export_onnx

    finished = read_model(finished_model(tmp_path / "m", model=model))
    session = onnxruntime.InferenceSession(export_onnx(finished)[0])
    pixels = np.random.default_rng(5).integers(0, 256, (2, 64, 64, 3), np.uint8)
    (got,) = session.run(None, {"images": pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255})
    assert np.abs(got - Network(finished).logits(pixels)).max() < 1e-4


def test_export_names_the_missing_package(tmp_path, monkeypatch):
    from embryofl_clinic.scoring import export

    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(UserError, match=r"missing: onnxscript.*embryofl-clinic\[onnx\]"):
        export.export_onnx(read_model(finished_model(tmp_path / "m")))


def test_heat_map_marks_the_regions_that_raised_and_lowered_the_score():
    import torch

    from embryofl_clinic.scoring.heatmap import heat_maps

    class Corner(torch.nn.Module):
        """Brightness raises the score in the upper left and lowers it in the lower right."""

        def __init__(self):
            super().__init__()
            self.grid = torch.nn.AvgPool2d(8)

        def forward(self, images):
            x = self.grid(images.float() / 255).mean(dim=1)
            return x[:, :4, :4].sum(dim=(1, 2)) - x[:, 4:, 4:].sum(dim=(1, 2))

    (heat,) = heat_maps(Corner().eval(), np.full((1, 64, 64, 3), 100, np.uint8))
    assert heat[1, 1] > 0.9 and heat[6, 6] < -0.9 and abs(heat[1, 6]) < 0.01
