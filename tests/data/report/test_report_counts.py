"""The report's counts are right, its verdict agrees with training, and what is sent has no small count and no name."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from embryofl.errors import DataError
from embryofl_data.dataset import load_clinic_data
from embryofl_data.report.facts import data_summary
from embryofl_data.report.report import DataReport, Verdict
from embryofl_data.report.run import check_folder, check_to_join
from embryofl_data.report.terminal import print_report

pytestmark = pytest.mark.integration


def draw(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """60 labelled images of 20 patients, 3 unlabelled ones, and one of each kind of problem."""
    root = tmp_path / "data"
    lines = ["image,label,patient,day,doctor"]
    for number in range(63):
        draw(root / f"images/{number:02}.png", number)
        label = "" if number >= 60 else number % 2
        lines.append(f"{number:02}.png,{label},Anna-{number // 3},{3 if number % 4 < 2 else 5},X")
    (root / "images/61.png").write_bytes((root / "images/61.png").read_bytes()[:100])
    (root / "images/62.png").write_text("no image")
    (root / "images/01.png").write_bytes((root / "images/00.png").read_bytes())  # opposite labels
    (root / "images/08.png").write_bytes((root / "images/02.png").read_bytes())  # two patients
    lines += ["nowhere.png,1,p,5,X", "../x.png,1,p,5,X", "00.png,0,Anna-0,3,X", "03.png,good,Anna-1,5,X"]
    (root / "labels.csv").write_text("\n".join(lines))
    return root


@pytest.fixture
def joining(tmp_path: Path):
    """The report made when joining: everything except the close examination of the images."""
    return lambda root: check_to_join(root, tmp_path / "cache", 16)


def text_of(report: DataReport) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_report(report, console)
    return console.file.getvalue()


def test_counts(root, joining):
    report = joining(root)
    facts = report.facts
    assert facts.layout == "labels.csv"
    assert {label: sum(day[label] for day in facts.counts.values()) for label in ("1", "0", "unlabelled")} == {
        "1": 29,
        "0": 30,
        "unlabelled": 1,
    }
    assert (facts.patients, facts.embryos, facts.lone_images) == (21, 0, 0)
    assert facts.cohorts == {1: 1, 2: 1, 3: 19}
    assert (facts.sizes, facts.modes) == ({"16x16": 60}, {"RGB": 60})
    assert {problem.kind: problem.count for problem in facts.problems} == {
        "missing": 1,
        "outside_folder": 1,
        "duplicate_row": 1,
        "bad_label": 1,
        "truncated": 1,
        "unreadable": 1,
        "ignored_column": 1,
    }
    copies = next(finding for finding in report.findings if finding.id == "exact-duplicates")
    assert copies.values == {"contents": 2, "files": 4, "opposite_labels": 1, "across_patients": 1}
    assert facts.can_train and report.exit_code == 0


def test_report_shows_the_split_used_in_training(root, joining, tmp_path):
    facts = joining(root).facts
    data = load_clinic_data(root, tmp_path / "cache", 16)
    for side in ("train", "validation", "test"):
        examples = getattr(data, side)
        for label in (0, 1):
            for day in (3, 5):
                shown = facts.split[side].get(str(day), {}).get(str(label), 0)
                assert shown == ((examples.labels == label) & (examples.days == day)).sum()


def test_training_need_not_decode_anything_after_joining(root, joining, tmp_path):
    joining(root)
    before = {path.name for path in (tmp_path / "cache").iterdir()}
    load_clinic_data(root, tmp_path / "cache", 16)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == before


def test_joining_and_check_give_the_same_counts(root, joining):
    assert joining(root).facts == check_folder(root).facts


def test_without_a_cache_nothing_is_written(root, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    check_folder(root)
    assert sorted(tmp_path.rglob("*")) == before


def test_printed_report(root, joining):
    text = text_of(joining(root))
    for part in (
        "labels.csv",
        "truncated",
        "images/61.png",
        "row 68",
        "opposite labels",
        "Training, validation and test patients",
        "Can train",
    ):
        assert part in text
    assert "Cannot train" not in text


def test_file_names_cannot_control_the_terminal(root, joining):
    draw(root / "images/[red]\x1b]0;owned\x07.png", 1)
    (root / "images/[bold]\x1b[2Jx.png").write_text("no image")
    text = text_of(joining(root))
    assert "\x1b" not in text and "\x07" not in text
    assert "[bold]?[2Jx.png" in text


@pytest.mark.parametrize("trouble", ["missing", "one class", "one patient", "few", "no column"])
def test_verdict_agrees_with_training(root, joining, tmp_path, trouble):
    table = root / "labels.csv"
    lines = table.read_text().splitlines()
    if trouble == "missing":
        root = tmp_path / "nowhere"
    elif trouble == "one class":
        table.write_text("\n".join(line.replace(",0,", ",1,") for line in lines))
    elif trouble == "one patient":
        table.write_text("\n".join(re.sub(r"Anna-\d+", "Anna", line) for line in lines))
    elif trouble == "few":
        table.write_text("\n".join(lines[:25]))
    else:
        table.write_text("\n".join(["picture,label,patient,day,doctor", *lines[1:]]))
    report = joining(root)
    assert report.exit_code == 1 and report.verdict is Verdict.STOP and not report.facts.split
    assert "Cannot train" in text_of(report)
    with pytest.raises(DataError) as error:
        load_clinic_data(root, tmp_path / "cache", 16)
    # The report also counts damaged unlabelled images, which training does not open.
    assert str(error.value).startswith(report.facts.reason.partition("; skipped")[0])


def test_report_is_ready_for_json(root, joining, tmp_path):
    for report in (joining(root), joining(tmp_path / "nowhere")):
        assert json.loads(json.dumps(report.to_dict()))["can_train"] == report.facts.can_train


def test_summary_has_only_counts_and_none_of_them_small(root, joining):
    summary = data_summary(joining(root).facts)
    assert set(summary) == {"counts", "image_sizes", "patients", "statistics"}
    statistics = summary.pop("statistics")  # sums over all images: see test_data_statistics
    assert statistics["images"] >= 60 and not any(0 < n < 5 for m in statistics["measures"].values() for n in m["bins"])
    assert summary["patients"] == 21
    assert summary["image_sizes"]["0-127"] == 60 and summary["image_sizes"]["128-255"] == "<5"
    assert summary["counts"]["3"]["unlabelled"] == "<5"

    def leaves(value):
        return [leaf for item in value.values() for leaf in leaves(item)] if isinstance(value, dict) else [value]

    assert all(leaf == "<5" or (isinstance(leaf, int) and leaf >= 5) for leaf in leaves(summary))
    text = json.dumps(summary)
    assert "Anna" not in text and "png" not in text and str(root) not in text


def test_summary_of_an_unreadable_folder(joining, tmp_path):
    assert data_summary(joining(tmp_path / "nowhere").facts)["patients"] == "<5"
