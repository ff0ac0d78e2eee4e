"""The split keeps patients together, has both classes and the requested shares, and does not depend on the order."""

import random
from collections import Counter

import pytest

from embryofl.errors import DataError
from embryofl_data.reading.contract import EmbryoImage
from embryofl_data.split import split_by_patient


def cohorts(patients: int, rng: random.Random) -> list[EmbryoImage]:
    return [
        EmbryoImage(f"{patient}-{embryo}.png", int(rng.random() < 0.3), f"p{patient}", "", rng.choice((3, 5)))
        for patient in range(patients)
        for embryo in range(rng.randint(2, 12))
    ]


def groups_of(images, indices):
    return {images[index].group for index in indices}


def test_each_patient_is_in_one_split_and_each_labelled_image_is_used_once():
    images = cohorts(40, random.Random(1)) + [EmbryoImage("u.png", None, "p0")]
    splits = split_by_patient(images, seed=3)
    used = sorted(index for indices in splits.values() for index in indices)
    assert used == [index for index, image in enumerate(images) if image.label is not None]
    train, validation, test = (groups_of(images, splits[split]) for split in ("train", "validation", "test"))
    assert not (train & validation or train & test or validation & test)


def test_shares_by_label_and_day_are_matched():
    images = cohorts(120, random.Random(2))
    splits = split_by_patient(images, seed=0)
    totals = Counter((image.label, image.day) for image in images)
    for split, share in (("train", 0.60), ("validation", 0.20), ("test", 0.20)):
        counts = Counter((images[index].label, images[index].day) for index in splits[split])
        for stratum, count in totals.items():
            assert counts[stratum] == pytest.approx(share * count, rel=0.15)


def test_same_seed_gives_the_same_split_in_any_order():
    images = cohorts(30, random.Random(3))
    shuffled = random.Random(9).sample(images, len(images))
    files = [
        {split: {given[index].file for index in indices} for split, indices in split_by_patient(given, 5).items()}
        for given in (images, shuffled)
    ]
    assert files[0] == files[1]
    assert split_by_patient(images, 5) != split_by_patient(images, 6)


def test_linked_groups_stay_together():
    images = [EmbryoImage(f"{number}.png", number % 2) for number in range(60)]
    links = [f"content {number // 3}" for number in range(60)]
    for seed in range(10):
        for indices in split_by_patient(images, seed, links=links).values():
            assert all(count == 3 for count in Counter(links[index] for index in indices).values())


def test_links_join_transitively_and_through_unlabelled_images():
    images = [EmbryoImage(f"{n}.png", n % 2, patient) for n, patient in enumerate("aabbccddeeff")]
    images += [EmbryoImage("x.png", None, "a"), EmbryoImage("y.png", None, "c")]
    links = [""] * 12 + ["same", "same"]
    for seed in range(10):
        for indices in split_by_patient(images, seed, links=links).values():
            groups = groups_of(images, indices)
            assert ("a" in groups) == ("c" in groups)


@pytest.mark.parametrize(
    "labels", ["10 10 10", "1 1 1 0 0 0", "1 0 10 10", "1 1 1 1 1 1 1 1 1 000 000 000", "10 111 000 1 0"]
)
def test_both_classes_are_in_every_split_where_possible(labels):
    images = [
        EmbryoImage(f"{patient}-{n}", int(label), str(patient))
        for patient, cohort in enumerate(labels.split())
        for n, label in enumerate(cohort)
    ]
    for seed in range(20):
        for indices in split_by_patient(images, seed).values():
            assert {images[index].label for index in indices} == {0, 1}


def test_training_has_both_classes_if_no_other_split_can():
    images = [EmbryoImage(f"{n}", int(n == 0), str(n)) for n in range(8)]
    for seed in range(20):
        splits = split_by_patient(images, seed)
        assert {images[index].label for index in splits["train"]} == {0, 1}
        assert all(splits.values())


@pytest.mark.parametrize("patients", [0, 1, 2])
def test_too_few_patients(patients):
    images = [EmbryoImage(f"{n}", n % 2, f"p{n % max(patients, 1)}") for n in range(30 if patients else 0)]
    with pytest.raises(DataError, match=f"{patients} patient"):
        split_by_patient(images)
