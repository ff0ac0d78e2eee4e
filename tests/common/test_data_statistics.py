"""Image statistics: sums that clinics release, pooled, against numpy on all images together; and which clinic differs."""

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from embryofl.data_statistics import BINS, MEASURES, DataStatistics, deviations, others_of, pool, release
from embryofl_data.reading.optics import optics_of


def rows(seed: int, images: int, brightness: float = 150.0) -> list[tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    return [
        (
            rng.normal(brightness, 12),
            rng.normal(35, 5),
            rng.normal(4, 3),
            rng.normal(1, 2),
            rng.normal(14, 2),
            rng.normal(0.6, 0.05),
            *rng.dirichlet(np.ones(16)) * 1000,
        )
        for _ in range(images)
    ]


def released(seed: int, images: int, brightness: float = 150.0) -> DataStatistics:
    statistics = release(rows(seed, images, brightness))
    assert statistics is not None
    return statistics


def test_pooled_statistics_equal_those_of_all_images() -> None:
    parts = [rows(seed, images, 100 + 30 * seed) for seed, images in ((0, 40), (1, 200), (2, 77))]
    pooled = pool([statistics for part in parts if (statistics := release(part)) is not None])
    together = np.array([row for part in parts for row in part])
    assert (pooled.images, pooled.clinics) == (317, 3)
    for number, name in enumerate(MEASURES):
        assert pooled.measures[name].mean == pytest.approx(together[:, number].mean(), rel=1e-4)
        assert pooled.measures[name].variance == pytest.approx(together[:, number].var(), rel=1e-4)
    assert pooled.grey == pytest.approx((together[:, len(MEASURES) :].mean(axis=0) / 1000).tolist(), abs=1e-4)
    bins = np.histogram(together[:, 0], BINS, MEASURES["brightness"])[0]
    assert np.abs(np.array(pooled.measures["brightness"].bins) - bins).max() <= 3 * 4  # steps below 5 are released as 0


def test_steps_below_five_images_and_sets_below_twenty_are_not_released() -> None:
    assert release(rows(0, 19)) is None
    assert release([()] * 100) is None  # none of them could be decoded
    for name, spread in released(0, 20).measures.items():
        assert all(count == 0 or count >= 5 for count in spread.bins), name


def test_clinic_gets_statistics_of_no_fewer_than_two_others() -> None:
    parts = {name: released(seed, 50) for seed, name in enumerate("abc")}
    others = others_of("a", parts)
    assert others is not None and (others.clinics, others.images) == (2, 100)
    assert others_of("a", {name: parts[name] for name in "ab"}) is None


def test_only_the_measure_that_differs_is_reported() -> None:
    bright, others = released(0, 100, 200.0), pool([released(1, 100), released(2, 80)])
    far = [place for place in deviations(bright, others) if place.far]
    assert [place.measure for place in far] == ["brightness"] and "brighter than the others'" in far[0].words
    assert not [place for place in deviations(released(3, 100), others) if place.far]


def test_impossible_statistics_are_rejected() -> None:
    good = released(0, 50).model_dump()
    worse = [
        {**good, "images": 5},
        {**good, "measures": {}},
        {**good, "grey": [0.0] * 4},
        {**good, "patients": ["Anna"]},
        {**good, "measures": {**good["measures"], "tint": {**good["measures"]["tint"], "variance": float("nan")}}},
        {**good, "measures": {**good["measures"], "tint": {**good["measures"]["tint"], "bins": [10**8] * BINS}}},
    ]
    for value in worse:
        with pytest.raises(ValidationError):
            DataStatistics.model_validate(value)


def ring(side: int, radius: float, ground: tuple[int, int, int]) -> Image.Image:
    y, x = np.indices((side, side)) - side / 2
    pixels = np.broadcast_to(np.array(ground, np.uint8), (side, side, 3)).copy()
    pixels[np.abs(np.hypot(x, y) - radius * side) < 0.03 * side] //= 2
    return Image.fromarray(pixels)


def test_measures_do_not_depend_on_the_images_size() -> None:
    """The export's size does not matter, but light, colour and magnification each change their own measure."""
    for side in (160, 500, 1200):
        optics = dict(zip(MEASURES, optics_of(ring(side, 0.3, (170, 160, 150))), strict=False))
        assert optics["extent"] == pytest.approx(0.6, abs=0.05)
        assert optics["warmth"] == pytest.approx(19, abs=2) and abs(optics["tint"]) < 1
    larger, bluer = optics_of(ring(500, 0.4, (170, 160, 150))), optics_of(ring(500, 0.3, (150, 160, 170)))
    assert larger[5] > 0.7 and bluer[2] < -15
    assert optics_of(Image.new("L", (300, 200), 90))[:6] == (90.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert sum(optics_of(ring(300, 0.3, (170, 160, 150)))[len(MEASURES) :]) == pytest.approx(1000, abs=10)
