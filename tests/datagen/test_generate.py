"""Properties of a generated clinic's folder that users rely on."""

import csv
import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embryofl.errors import UserError
from embryofl_data.progress import ProgressPrinter
from embryofl_data.reading.layouts import read_folder
from embryofl_datagen import job
from embryofl_datagen.job import generate
from embryofl_datagen.plan import HEADER, Settings, plan_clinic

pytestmark = pytest.mark.integration

SMALL = Settings(images=24, size=64, seed=5, best_auc=0.9)


def made(
    out: Path, settings: Settings = SMALL, clinics: int = 2, only: int | None = None, workers: int = 1
) -> tuple[list[Path], str]:
    printed = io.StringIO()
    return generate(out, clinics, settings, only, ProgressPrinter(printed), workers), printed.getvalue()


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def clinics(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return made(tmp_path_factory.mktemp("synthetic") / "out")[0]


def test_every_row_names_an_image_of_the_requested_size(clinics: list[Path]) -> None:
    for folder in clinics:
        rows = table(folder)
        assert tuple(rows[0]) == HEADER
        assert len(rows) == SMALL.images
        assert {row["image"] for row in rows} == {f"images/{p.name}" for p in (folder / "images").iterdir()}
        for row in rows:
            with Image.open(folder / row["image"]) as image:
                assert image.size == (64, 64)
                assert image.mode == "RGB"
                assert np.asarray(image).std() > 5


def test_rows_follow_the_data_contract(clinics: list[Path]) -> None:
    for folder in clinics:
        rows = table(folder)
        assert {row["label"] for row in rows} == {"0", "1"}
        assert len({row["embryo"] for row in rows}) == len(rows)
        for row in rows:
            grades = (row["expansion"], row["icm"], row["te"])
            if row["day"] == "3":
                assert grades == ("", "", "")
            else:
                assert row["day"] == "5"
                assert re.fullmatch("[1-6][ABC][ABC]", "".join(grades))


def test_clinics_read_the_folder_without_problems(clinics: list[Path]) -> None:
    for folder in clinics:
        data = read_folder(folder)
        assert len(data.images) == SMALL.images
        assert data.problems == ()


def test_patients_have_cohorts_of_2_to_12_on_one_day_and_one_clinic(tmp_path: Path) -> None:
    seen: set[str] = set()
    for clinic in (1, 2, 3):
        for images in (20, 25, 301):
            rows = plan_clinic(clinic, Settings(images, 64, 3, 0.9)).rows()
            cohorts: dict[str, set[str]] = {}
            for row in rows:
                cohorts.setdefault(row[2], set()).add(row[4])
            sizes = [sum(row[2] == patient for row in rows) for patient in cohorts]
            assert len(rows) == images
            assert all(2 <= size <= 12 for size in sizes)
            assert all(len(days) == 1 for days in cohorts.values())
        assert not seen & set(cohorts)
        seen |= set(cohorts)


def test_same_seed_gives_the_same_bytes_with_any_number_of_processes(clinics: list[Path], tmp_path: Path) -> None:
    again = made(tmp_path / "again", workers=2)[0]
    assert [digests(folder) for folder in again] == [digests(folder) for folder in clinics]


def test_option_only_writes_the_same_bytes_directly_into_the_folder(clinics: list[Path], tmp_path: Path) -> None:
    made(tmp_path, clinics=9, only=2)
    assert digests(tmp_path) == digests(clinics[1])


def test_adding_clinics_leaves_the_existing_ones_untouched(clinics: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(out, clinics=1)
    before = {path: path.stat().st_mtime_ns for path in (out / "clinic-1").rglob("*")}
    made(out, clinics=2)
    assert {path: path.stat().st_mtime_ns for path in (out / "clinic-1").rglob("*")} == before
    assert digests(out / "clinic-2") == digests(clinics[1])


def test_other_seeds_give_other_embryos(clinics: list[Path], tmp_path: Path) -> None:
    other = made(tmp_path, Settings(24, 64, 6, 0.9), clinics=1)[0][0]
    assert (other / "labels.csv").read_bytes() != (clinics[0] / "labels.csv").read_bytes()
    assert digests(other)["images/E000001.jpg"] != digests(clinics[0])["images/E000001.jpg"]


def test_generating_again_does_nothing_and_reports_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    _, printed = made(out)
    assert printed.count("nothing to do") == 2
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize("only", [None, 1])
def test_foreign_folder_is_rejected_and_untouched(tmp_path: Path, only: int | None) -> None:
    (tmp_path / "holiday.png").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"holiday\.png.*Nothing was written"):
        made(tmp_path, only=only)
    assert [path.name for path in tmp_path.rglob("*")] == ["holiday.png"]


def test_nothing_is_written_if_one_clinic_folder_is_foreign(tmp_path: Path) -> None:
    (tmp_path / "clinic-2").mkdir()
    (tmp_path / "clinic-2" / "labels.csv").write_text("image,label\n")
    with pytest.raises(UserError, match="clinic-2"):
        made(tmp_path)
    assert not (tmp_path / "clinic-1").exists()


@pytest.mark.parametrize(
    "other", [Settings(25, 64, 5, 0.9), Settings(24, 65, 5, 0.9), Settings(24, 64, 6, 0.9), Settings(24, 64, 5, 0.8)]
)
def test_clinic_made_with_other_settings_is_rejected(clinics: list[Path], other: Settings) -> None:
    with pytest.raises(UserError, match="holds another synthetic clinic"):
        made(clinics[0].parent, other)


def test_an_interrupted_job_leaves_no_files_and_is_repeated(
    clinics: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = 0

    def interrupted(*args: object) -> np.ndarray:
        nonlocal drawn
        drawn += 1
        if drawn > 21:
            assert (tmp_path / ".generating" / "images" / "E000021.jpg").exists()
            raise KeyboardInterrupt
        return np.zeros((64, 64, 3), np.uint8)

    with monkeypatch.context() as patched:
        patched.setattr(job, "draw_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, only=1)
    assert not list(tmp_path.iterdir())
    made(tmp_path, only=1)
    assert digests(tmp_path) == digests(clinics[0])


@pytest.mark.parametrize("moved", ["nothing", "images", "images and labels.csv"])
def test_files_of_a_killed_job_are_removed_and_drawn_again(clinics: list[Path], tmp_path: Path, moved: str) -> None:
    (tmp_path / ".generating" / "images").mkdir(parents=True)
    (tmp_path / ".generating" / "images" / "E000001.jpg").write_bytes(b"half")
    if "images" in moved:
        (tmp_path / ".generating" / "images").rename(tmp_path / "images")
    if "labels" in moved:
        (tmp_path / "labels.csv").write_text("image,label")
    made(tmp_path, only=1)
    assert digests(tmp_path) == digests(clinics[0])


def test_a_finished_clinic_that_lacks_its_images_is_rejected(clinics: list[Path], tmp_path: Path) -> None:
    (tmp_path / "datagen.json").write_bytes((clinics[0] / "datagen.json").read_bytes())
    with pytest.raises(UserError, match=r"holds datagen\.json"):
        made(tmp_path, only=1)


def test_full_disk_is_reported_and_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> np.ndarray:
        raise OSError(28, "No space left on device", str(tmp_path / "images" / "E000001.jpg"))

    monkeypatch.setattr(job, "draw_image", full)
    with pytest.raises(UserError, match="No disk space left.*MB are needed"):
        made(tmp_path, only=1)
    assert not list(tmp_path.iterdir())


def test_file_in_place_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="is a file"):
        made(tmp_path / "out")


def test_summary_has_settings_profile_and_best_score(clinics: list[Path]) -> None:
    for number, folder in enumerate(clinics, start=1):
        summary = json.loads((folder / "datagen.json").read_text())
        assert summary["parameters"] == {"clinic": number, "images": 24, "size": 64, "seed": 5, "best_auc": 0.9}
        assert summary["embryos"]["viable"] == sum(row["label"] == "1" for row in table(folder))
        assert summary["profile"]["optics"]["jpeg_quality"] >= 40
        assert set(summary["best_possible_auroc"]) == {"meaning", "all", "day3", "day5"}


def test_clinics_differ_in_optics_and_case_mix(clinics: list[Path]) -> None:
    first, second = (json.loads((folder / "datagen.json").read_text())["profile"] for folder in clinics)
    assert first["optics"] != second["optics"]
    assert first["prevalence"] != second["prevalence"]
    assert first["day3_share"] != second["day3_share"]
    assert first["strictness"] != second["strictness"]
