"""Dividing real images: disjoint patients, identical bytes, repeatable, and without changes to the source."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embryofl.errors import DataError, UserError
from embryofl_data import dividing
from embryofl_data.dividing import count_clinics, divide_folder
from embryofl_data.reading.layouts import read_folder

SHARED = Path(__file__).parents[3] / "shared" / "data"


def draw(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(path)


def make(root: Path, patients: int = 30, first: int = 0) -> Path:
    """Three images per patient: label 1, label 0 and unlabelled; day 5 for every third patient."""
    lines = ["image;label;patient;day;icm"]
    for number in range(first, first + 3 * patients):
        draw(root / f"images/{number}.png", number)
        patient = number // 3
        lines.append(f"images/{number}.png;{('1', '0', '')[number % 3]};p{patient};{5 if patient % 3 == 0 else 3};A")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def quiet(_: str) -> None:
    return None


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make(tmp_path / "source")


def test_clinics_hold_disjoint_patients_and_every_image_once(source, tmp_path):
    folders = divide_folder(source, tmp_path / "out", 4, log=quiet)
    assert [folder.name for folder in folders] == ["clinic-1", "clinic-2", "clinic-3", "clinic-4"]
    clinics = [read_folder(folder) for folder in folders]
    patients = [{image.patient for image in clinic.images} for clinic in clinics]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 30
    original = {image.file: image for image in read_folder(source).images}
    divided = {image.file: image for clinic in clinics for image in clinic.images}
    assert divided == original
    for folder, clinic in zip(folders, clinics, strict=True):
        assert clinic.layout == "labels.csv" and not clinic.problems
        for image in clinic.images:
            assert (folder / image.file).read_bytes() == (source / image.file).read_bytes()
    assert (
        (folders[0] / "labels.csv")
        .read_text()
        .startswith("image,label,patient,embryo,day,expansion,icm,te,frame,focal_plane\n")
    )


def test_labels_and_days_are_spread_evenly(source, tmp_path):
    for folder in divide_folder(source, tmp_path / "out", 3, log=quiet):
        counts = Counter((image.label, image.day) for image in read_folder(folder).images)
        assert all(abs(counts[label, 5] - 10 / 3) < 2 and abs(counts[label, 3] - 20 / 3) < 2 for label in (1, 0, None))


def test_same_source_and_seed_give_the_same_bytes(source, tmp_path):
    copy = shutil.copytree(source, tmp_path / "copy")
    for given, out in ((source, "one"), (copy, "two")):
        divide_folder(given, tmp_path / out, 3, seed=5, log=quiet)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    divide_folder(source, tmp_path / "three", 3, seed=6, log=quiet)
    assert tree(tmp_path / "one") != tree(tmp_path / "three")


def test_a_clinic_divided_alone_is_the_same(source, tmp_path):
    folders = divide_folder(source, tmp_path / "all", 3, log=quiet)
    for number, folder in enumerate(folders, 1):
        out = tmp_path / f"only-{number}"
        assert divide_folder(source, out, 3, only=number, log=quiet) == [out]
        written = tree(out)
        assert json.loads(written.pop("divide.json"))["only"] == number
        assert written == tree(folder)


def test_the_source_is_never_changed_and_may_be_read_only(source, tmp_path):
    for path in [*source.rglob("*"), source]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in source.rglob("*")}
    folders = divide_folder(source, tmp_path / "out", 2, log=quiet)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in source.rglob("*")} == before
    copied = next((folders[0] / "images").iterdir())
    assert copied.stat().st_mode & stat.S_IWUSR
    assert copied.stat().st_nlink == 1


def test_images_of_the_same_content_or_embryo_stay_in_one_clinic(tmp_path):
    root = tmp_path / "source"
    for number in range(60):
        draw(root / f"train/D3_{number:03}.jpg", number)
    for number in range(0, 60, 6):  # 0 = 1 by content, 1 and 2 by embryo, 2 = 3 by content
        shutil.copy(root / f"train/D3_{number:03}.jpg", root / f"train/D3_{number + 1:03}.jpg")
        shutil.copy(root / f"train/D3_{number + 2:03}.jpg", root / f"train/D3_{number + 3:03}.jpg")
    rows = [f"D3_{number:03}.jpg,{number % 2}" for number in range(60)]
    (root / "train.csv").write_text("\n".join(["Image,Class", *rows]))
    same = [f"D3_{number + twin:03}.jpg,e{number}" for number in range(0, 60, 6) for twin in (1, 2)]
    (root / "same_embryo.csv").write_text("\n".join(["Image,Embryo", *same]))
    for seed in range(5):
        folders = divide_folder(root, tmp_path / f"out-{seed}", 3, seed=seed, log=quiet)
        home = {path.name: index for index, folder in enumerate(folders) for path in folder.rglob("*.jpg")}
        assert len(home) == 60
        for number in range(0, 60, 6):
            assert len({home[f"D3_{number + twin:03}.jpg"] for twin in range(4)}) == 1


def test_second_division_does_nothing(source, tmp_path):
    out = tmp_path / "out"
    divide_folder(source, out, 3, log=quiet)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    lines: list[str] = []
    divide_folder(source, out, 3, log=lines.append)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert "nothing to do" in lines[0]


@pytest.mark.parametrize("change", ["seed", "clinics", "source", "foreign", "file"])
def test_other_content_in_the_output_folder_is_rejected_and_kept(source, tmp_path, change):
    out, options = tmp_path / "out", {"clinics": 3, "seed": 0}
    if change == "foreign":
        make(out)
    elif change == "file":
        out.write_text("mine")
    else:
        divide_folder(source, out, 3, log=quiet)
    if change == "source":
        draw(source / "images/0.png", 1000)
    elif change in options:
        options[change] += 1
    before = tree(out)
    with pytest.raises(UserError, match=r"holds (another division|images, labels.csv)|is a file"):
        divide_folder(source, out, **options, log=quiet)
    assert tree(out) == before


def test_interrupted_division_is_repeated(source, tmp_path, monkeypatch):
    divide_folder(source, tmp_path / "uninterrupted", 3, log=quiet)
    for kept in range(0, 90, 17):
        out = tmp_path / f"out-{kept}"
        code = (
            "import os, shutil, sys; from pathlib import Path; from embryofl_data import dividing\n"
            "left = int(sys.argv[3]); copy = shutil.copyfile; rename = Path.rename\n"
            "def tick():\n    global left\n    left -= 1\n    left < 0 and os._exit(9)\n"
            "shutil.copyfile = lambda *a: (tick(), copy(*a))\n"
            "Path.rename = lambda *a: (tick(), rename(*a))\n"
            "dividing.divide_folder(Path(sys.argv[1]), Path(sys.argv[2]), 3)"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code, str(source), str(out), str(kept + 6)], capture_output=True, check=False
        )
        assert ended.returncode == 9 and not (out / "divide.json").exists()
        divide_folder(source, out, 3, log=quiet)
        assert tree(out) == tree(tmp_path / "uninterrupted")


def test_full_disk_is_reported_with_the_space_needed_and_leaves_no_files(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dividing.shutil, "copyfile", full)
    with pytest.raises(UserError, match="MB are needed"):
        divide_folder(source, tmp_path / "out", 3, log=quiet)
    assert not list((tmp_path / "out").iterdir())


def test_folders_per_clinic_are_used_unchanged(tmp_path):
    for name, first in (("clinic-10", 0), ("clinic-2", 100), ("north", 200)):
        make(tmp_path / "source" / name, patients=10, first=first * 3)
    (tmp_path / "source" / "README.txt").write_text("notes")
    folders = divide_folder(tmp_path / "source", tmp_path / "out", 3, log=quiet)
    for folder, name in zip(folders, ("clinic-2", "clinic-10", "north"), strict=True):
        assert read_folder(folder).images == read_folder(tmp_path / "source" / name).images
    described = json.loads((tmp_path / "out" / "divide.json").read_text())
    assert [clinic["name"] for clinic in described["clinics"]] == ["clinic-2", "clinic-10", "north"]
    with pytest.raises(DataError, match="3 clinics .*2 clinics were requested"):
        divide_folder(tmp_path / "source", tmp_path / "other", 2, log=quiet)


def test_image_in_two_clinics_gives_a_warning(tmp_path):
    for name in ("a", "b"):
        make(tmp_path / "source" / name, patients=5)
    lines: list[str] = []
    divide_folder(tmp_path / "source", tmp_path / "out", 2, log=lines.append)
    assert any("15 image(s) are in more than one clinic" in line for line in lines)


def test_sub_folder_that_is_not_a_clinic_is_named(tmp_path):
    make(tmp_path / "source" / "a")
    (tmp_path / "source" / "b").mkdir()
    with pytest.raises(DataError, match="1 of the 2 sub-folders.* b: There is no image"):
        divide_folder(tmp_path / "source", tmp_path / "out", 2, log=quiet)


def test_class_folders_are_divided(tmp_path):
    for number in range(20):
        draw(tmp_path / "source" / ("good" if number % 2 else "poor") / f"{number}.png", number)
    for folder in divide_folder(tmp_path / "source", tmp_path / "out", 2, log=quiet):
        assert Counter(image.label for image in read_folder(folder).images) == {0: 5, 1: 5}


def test_skipped_images_are_reported_not_divided(source, tmp_path):
    with (source / "labels.csv").open("a") as table:
        table.write("\nimages/0.png;good;p0;3;A\nnowhere.png;1;p0;3;A\n")
    lines: list[str] = []
    folders = divide_folder(source, tmp_path / "out", 2, log=lines.append)
    assert sum(len(read_folder(folder).images) for folder in folders) == 89
    assert any("nowhere.png" in line for line in lines) and any("'good'" in line for line in lines)


@pytest.mark.parametrize("where", ["inside", "same", "around"])
def test_output_in_or_around_the_source_is_rejected(source, where):
    out = {"inside": source / "out", "same": source, "around": source.parent}[where]
    before = tree(source)
    with pytest.raises(UserError, match="contain one another"):
        divide_folder(source, out, 2, log=quiet)
    assert tree(source) == before


@pytest.mark.parametrize(("clinics", "only"), [(0, None), (2, 3), (2, 0)])
def test_impossible_numbers_are_rejected(source, tmp_path, clinics, only):
    with pytest.raises(UserError):
        divide_folder(source, tmp_path / "out", clinics, only=only, log=quiet)


def test_more_clinics_than_patients_are_rejected(source, tmp_path):
    with pytest.raises(DataError, match="30 patient.* 31 clinics"):
        divide_folder(source, tmp_path / "out", 31, log=quiet)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_that_cannot_be_written(source, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(UserError, match="cannot be written"):
        divide_folder(source, tmp_path / "locked" / "out", 2, log=quiet)


@pytest.mark.skipif(not (SHARED / "hungvuong").is_dir(), reason="the shared real images are not here")
def test_real_hung_vuong(tmp_path):
    folders = divide_folder(SHARED / "hungvuong", tmp_path / "out", 3, log=quiet)
    groups = [{image.group for image in read_folder(folder).images if image.embryo} for folder in folders]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert sum(len(read_folder(folder).images) for folder in folders) == 673


@pytest.mark.parametrize(
    ("asked", "existing", "count"), [(None, 0, 3), (5, 0, 5), (None, 4, 4), (6, 4, 6), (2, 4, 4), (50, 0, 50)]
)
def test_number_of_synthetic_clinics_is_the_one_asked_for_and_never_shrinks(asked, existing, count):
    lines = []
    assert count_clinics(None, asked, existing, lines.append) == (count, "synthetic")
    assert [("keeps them" in line, "make clean" in line) for line in lines] == [(True, True)] * (asked == 2)


@pytest.mark.parametrize("asked", [0, -1, 51])
def test_impossible_number_of_clinics_is_refused(asked):
    with pytest.raises(UserError, match="1 to 50"):
        count_clinics(None, asked)


def test_sub_folders_decide_the_number_of_clinics(tmp_path):
    for name in ("a", "b"):
        make(tmp_path / name, patients=2)
    assert (
        count_clinics(tmp_path, None)
        == count_clinics(tmp_path, 2)
        == count_clinics(tmp_path, None, 2)
        == (2, "folders")
    )
    with pytest.raises(UserError, match=r"sub-folders for 2 clinics, but CLINICS=3\. Leave CLINICS out"):
        count_clinics(tmp_path, 3)


def test_divided_folder_cannot_get_more_clinics(source):
    assert count_clinics(source, None) == (3, "divided") and count_clinics(source, 2, 4, quiet) == (4, "divided")
    with pytest.raises(UserError, match="divided over 3 clinics.*make clean"):
        count_clinics(source, 4, 3)
