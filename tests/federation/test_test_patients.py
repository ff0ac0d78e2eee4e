"""Nothing about test patients reaches the model, its threshold, its calibration or the choice of a round.

Each pair of runs has one seed. Between the two runs, the images of all test embryos of all clinics are replaced by conspicuous
ones, and their labels are rotated within each patient (so that the split stays the same). One pair uses the last model; the
other uses the best round, stops early, and sets its threshold by a required sensitivity.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embryofl_data.dataset import split_to_train
from embryofl_data.reading.layouts import read_folder
from kits.federation import Federation, draw_clinic

NAMES = ["anna", "bert"]


def files_by_split(folder: Path) -> dict[str, list[str]]:
    """Files in each split of the clinic's patients."""
    data = read_folder(folder)
    splits = split_to_train(data, [""] * len(data.images))
    return {split: [data.images[index].file for index in members] for split, members in splits.items()}


def plant(folder: Path) -> set[str]:
    """Give all test embryos a white image with a dark bar, and rotate their labels; return their files."""
    before = files_by_split(folder)
    test = set(before["test"])
    for number, file in enumerate(sorted(test)):
        pixels = np.full((56, 56, 3), 255, np.uint8)
        pixels[:, 20:30] = number  # no duplicates
        Image.fromarray(pixels).save(folder / file)
    with (folder / "labels.csv").open() as file_:
        rows = list(csv.DictReader(file_))
    for patient in {row["patient"] for row in rows if row["image"] in test}:
        hers = [row for row in rows if row["patient"] == patient]
        labels = [row["label"] for row in hers]
        for row, label in zip(hers, labels[-1:] + labels[:-1], strict=True):
            row["label"] = label
    with (folder / "labels.csv").open("w") as file_:
        writer = csv.DictWriter(file_, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert files_by_split(folder) == before
    return test


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Federation]:
    federation = Federation(tmp_path / "two")
    for name in NAMES:
        draw_clinic(federation.place.data(name), name, patients=70, disc=4)
    try:
        federation.stack.start_hub()
        federation.join(NAMES)
        yield federation
    finally:
        federation.stack.stop()


LAST = {"rounds": 3, "min_clinics": 2, "learning_rate": 0.003}
BEST = {
    "rounds": 5,
    "min_clinics": 2,
    "learning_rate": 0.02,
    "schedule": "constant",
    "choose": "best",
    "patience": 1,
    "threshold_sensitivity": 0.9,
}


def events_of(folder: Path, *kinds: str) -> list[dict[str, object]]:
    """Events of these kinds, without their time."""
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [{k: v for k, v in event.items() if k != "time"} for event in events if event["kind"] in kinds]


def same_but_for_test_patients(plain: Path, again: Path) -> tuple[dict, dict]:
    """Check that training, choice of round and calibration gave the same; return both results."""
    assert (plain / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    models = [json.loads((f / "model.json").read_text()) for f in (plain, again)]
    results = [json.loads((f / "results.json").read_text()) for f in (plain, again)]
    assert models[0]["calibration"] is not None
    for key in ("calibration", "best_validation", "round", "sha256", "settings"):
        assert models[0][key] == models[1][key], key
    for key in ("threshold", "calibration", "rounds", "round"):
        assert results[0][key] == results[1][key], key
    assert results[0]["splits"]["validation"] == results[1]["splits"]["validation"]
    assert events_of(plain, "stopped_early", "chosen") == events_of(again, "stopped_early", "chosen")
    # The planted images had an effect: the test metrics differ, for the same number of embryos.
    for name in NAMES:
        before, after = (r["splits"]["test"]["clinics"][name]["all"] for r in results)
        assert before["n"] == after["n"] and before["auroc"] != after["auroc"]
        assert before["before"]["brier"] != after["before"]["brier"]
    return results[0], results[1]


@pytest.mark.slow
def test_no_test_embryo_influences_model_threshold_calibration_early_stopping_or_choice_of_round(two):
    plain, best = two.run(**LAST), two.run(**BEST)
    planted = {name: plant(two.place.data(name)) for name in NAMES}
    assert all(planted.values())
    results = same_but_for_test_patients(plain, two.run(**LAST))
    ranked = [r["splits"]["test"]["pooled"]["all"]["ranking"] for r in results]
    assert ranked[0]["cohorts"] == ranked[1]["cohorts"] >= 10  # clinics release sums over their patients' cohorts
    chosen, _ = same_but_for_test_patients(best, two.run(**BEST))
    assert events_of(best, "stopped_early", "chosen"), "a run without a choice of round would prove nothing"
    assert chosen["threshold"]["rule"].startswith("the highest with a sensitivity of at least 0.9")
