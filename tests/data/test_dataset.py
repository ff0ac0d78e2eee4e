"""Loading a clinic's data: the examples for training, and data that cannot be used."""

from collections import Counter

import numpy as np
import pytest

from embryofl.errors import DataError
from embryofl_data.dataset import load_clinic_data
from embryofl_data.reading.decode import decode_image


def test_examples_are_the_images_they_claim_to_be(make_clinic, tmp_path):
    root = make_clinic()
    data = load_clinic_data(root, tmp_path / "cache", 16)
    by_pixels = {decode_image((root / image.file).read_bytes(), 16).tobytes(): image for image in data.folder.images}
    patients = []
    for side in (data.train, data.validation, data.test):
        assert side.labels.dtype == side.days.dtype == side.rows.dtype == np.int64
        images = [by_pixels[side.pixels[row].tobytes()] for row in side.rows]
        assert [image.label for image in images] == side.labels.tolist()
        assert [image.day for image in images] == side.days.tolist()
        patients.append({image.patient for image in images})
    assert sum(map(len, patients)) == len(set.union(*patients)) == 20
    assert sum(len(side) for side in (data.train, data.validation, data.test)) == 60
    assert data.image_size == 16


def test_unlabelled_images_are_not_examples(make_clinic, tmp_path, draw):
    root = make_clinic()
    draw(root / "images/more.png", 999)
    data = load_clinic_data(root, tmp_path / "cache", 16)
    assert len(data.folder.images) == 61
    assert sum(len(side) for side in (data.train, data.validation, data.test)) == 60


def test_a_folder_gives_the_same_examples_each_time(make_clinic, tmp_path):
    root = make_clinic()
    one, two = (load_clinic_data(root, tmp_path / f"cache{n}", 16) for n in (1, 2))
    assert np.array_equal(one.train.pixels[one.train.rows], two.train.pixels[two.train.rows])
    assert one.test.rows.tolist() == two.test.rows.tolist() != one.train.rows.tolist()


def test_files_of_the_same_content_stay_in_one_split(make_clinic, tmp_path):
    root = make_clinic(patients=60, cohort=1)
    for number in range(0, 60, 3):
        for twin in (1, 2):
            (root / f"images/{number + twin:03}.png").write_bytes((root / f"images/{number:03}.png").read_bytes())
    data = load_clinic_data(root, tmp_path / "cache", 16)
    sides = [set(side.rows.tolist()) for side in (data.train, data.validation, data.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 20


def test_unusable_images_are_skipped_and_listed(make_clinic, tmp_path):
    root = make_clinic()
    content = (root / "images/000.png").read_bytes()
    (root / "images/000.png").write_bytes(content[: len(content) // 2])
    (root / "images/001.png").write_text("no image")
    (root / "images/002.png").unlink()
    data = load_clinic_data(root, tmp_path / "cache", 16)
    assert Counter(problem.kind for problem in data.folder.problems) == Counter(["truncated", "unreadable", "missing"])
    assert sum(len(side) for side in (data.train, data.validation, data.test)) == 57


@pytest.mark.parametrize("label", ["1", "0", ""])
def test_one_class_or_none_is_rejected(make_clinic, tmp_path, label):
    with pytest.raises(DataError, match="has a label" if label == "" else f"have the label {label}"):
        load_clinic_data(make_clinic(label=label), tmp_path / "cache", 16)


def test_single_patient_is_rejected(make_clinic, tmp_path):
    with pytest.raises(DataError, match="1 patient"):
        load_clinic_data(make_clinic(patients=1, cohort=60), tmp_path / "cache", 16)


def test_too_few_images_are_rejected_with_counts_and_reasons(make_clinic, tmp_path):
    root = make_clinic(patients=12, cohort=2)
    (root / "images/000.png").write_text("no image")
    with pytest.raises(DataError) as error:
        load_clinic_data(root, tmp_path / "cache", 16)
    for part in ("11 training embryos", "with label 1", "at least 20", "1 unreadable", "23 labelled"):
        assert part in str(error.value)


def test_images_of_one_embryo_day_and_label_are_views(make_clinic, tmp_path, draw):
    root = make_clinic()
    header, *lines = (root / "labels.csv").read_text().splitlines()
    more = []
    for number, line in enumerate(lines[:10]):
        for plane in (-15, 15):
            draw(root / f"images/plane{number}{plane}.png", 1000 + 100 * number + plane)
            more.append(f"plane{number}{plane}.png," + line.split(",", 1)[1] + f",{plane}")
    table = [header + ",focal_plane", *(line + ",0" for line in lines), *more]
    (root / "labels.csv").write_text("\n".join(table))
    data = load_clinic_data(root, tmp_path / "cache", 16)
    assert not data.folder.problems
    sides = (data.train, data.validation, data.test)
    assert sum(len(side.rows) for side in sides) == len(lines) + 20
    assert sum(len(side) for side in sides) == len(lines)
    for side in sides:
        assert sorted(set(side.embryos.tolist())) == list(range(len(side)))
        for number in range(len(side)):
            assert len(set(side.labels[side.embryos == number].tolist())) == 1
            assert (side.embryos == number).sum() in (1, 3)


def test_many_images_of_few_embryos_are_not_enough(make_clinic, tmp_path):
    root = make_clinic(patients=15)
    header, *lines = (root / "labels.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines]
    load_clinic_data(root, tmp_path / "cache", 16)
    one_a_patient = [f"{image},{label},{patient},{patient}-{label},5" for image, label, patient, _, _ in cells]
    (root / "labels.csv").write_text("\n".join([header, *one_a_patient]))
    with pytest.raises(DataError, match="18 training embryos"):
        load_clinic_data(root, tmp_path / "cache", 16)
