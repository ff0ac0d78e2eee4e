"""bench/quality: each image is tested in one fold and never trained on there; results of jobs become rows of the table."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kits.federation import draw_clinic

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quality(monkeypatch):
    """The bench's modules."""
    monkeypatch.syspath_prepend(str(ROOT / "bench" / "quality"))
    import datasets
    import jobs
    import report

    yield datasets, jobs, report
    for name in ("datasets", "jobs", "masks", "report", "plan"):
        sys.modules.pop(name, None)


def test_each_image_is_in_the_test_split_of_one_fold_and_never_in_two_splits(quality, tmp_path):
    datasets = quality[0]
    folder = draw_clinic(tmp_path / "clinic-1", "clinic-1", patients=30)
    held_out = []
    for fold in range(datasets.FOLDS):
        data = datasets.load(folder, tmp_path / "cache", 32, fold)
        splits = [set(s.rows.tolist()) for s in (data.train, data.validation, data.test)]
        assert all(splits) and not (splits[0] & splits[1] or splits[0] & splits[2] or splits[1] & splits[2])
        held_out.append(splits[2])
        everything = set().union(*splits)
    assert sum(map(len, held_out)) == len(everything) == len(set().union(*held_out))


@pytest.mark.slow
def test_jobs_become_a_table_that_names_missing_folds(quality, tmp_path):
    _, jobs, report = quality
    for name in ("clinic-1", "clinic-2"):
        draw_clinic(tmp_path / "data" / "day5" / name, name, patients=30)
    ways = ["fedavg", "ditto", "pooled", *(f"{how} clinic-{k}" for how in ("alone", "alone-long") for k in (1, 2))]
    small = {"image_size": 32, "local_epochs": 1}
    out = tmp_path / "results"
    out.mkdir()
    for way in ways:
        result = jobs.run(
            jobs.Job("day5", "small_cnn", way, 0), tmp_path / "data", tmp_path / "cache", out, rounds=1, **small
        )
        assert json.loads((out / jobs.Job("day5", "small_cnn", way, 0).file).read_text()) == result
        assert bool(result["personal"]) == (way == "ditto")
        assert all(
            np.isfinite(c["scores"]).all() and len(c["scores"]) == len(c["patients"]) for c in result["test"].values()
        )
    text = report.tables(out)
    assert "| fedavg |" in text and "| ditto, personal |" in text and "1 of 3 folds" in text


@pytest.mark.slow
def test_masks_are_compared_with_a_run_without_them(quality, tmp_path):
    import masks

    for number in range(1, 4):
        draw_clinic(tmp_path / "data" / "day5" / f"clinic-{number}", f"clinic-{number}", patients=30)
    chosen = SimpleNamespace(model="small_cnn", strategy="fedavg", rounds=1, folds=[0], out=tmp_path)
    trainings = masks.Trainings(chosen)
    text, largest = masks.line(
        trainings, 1, "day5", masks.MASKS, "image_size=32 groups=off", f"image_size=32 {masks.PLAIN}"
    )
    apart = float(text.split("|")[-2])
    assert 0 < apart < 1e-5 and largest <= masks.MOST  # other bits, the same model


def test_alone_is_the_budget_that_the_clinics_validation_patients_prefer(quality):
    report = quality[2]

    def result(scores: list[float], own_validation: float | None) -> dict:
        test = {"scores": scores, "labels": [1, 0, 1, 0], "strata": [5] * 4, "patients": [0, 1, 2, 3]}
        return {"test": {"clinic-1": test}, "own_validation": own_validation}

    right, wrong = [0.9, 0.1, 0.8, 0.2], [0.1, 0.9, 0.2, 0.8]
    alone = {0: result(right, 0.6), 1: result(wrong, 0.5), 2: result(right, None)}
    long = {0: result(wrong, 0.7), 1: result(right, 0.4), 2: result(wrong, None)}
    results = {"alone clinic-1": alone, "alone-long clinic-1": long}
    assert report.own_choice(results, "clinic-1")[0] == pytest.approx(1 / 3)  # the longer one in fold 0, wrongly
    assert report.better_budget(results, "clinic-1")[0] == pytest.approx(2 / 3)
    assert np.isnan(report.own_choice({"alone clinic-1": alone}, "clinic-1")).all()
