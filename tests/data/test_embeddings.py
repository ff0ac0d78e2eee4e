"""Embeddings are computed once, belong to exactly these pixels, and a damaged file is no harm."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from embryofl_data import load_clinic_data
from embryofl_data.embeddings import with_embeddings


class Means:
    """Stands in for a backbone: the mean of each channel."""

    EMBEDDING = "means-1"

    def __init__(self) -> None:
        self.seen = 0

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return images.float().mean(dim=(2, 3))


def test_each_image_is_embedded_once_and_never_again(make_clinic: Callable[..., Path], tmp_path: Path) -> None:
    root, model, told = make_clinic(), Means(), []
    data = load_clinic_data(root, tmp_path / "cache", 16)
    found = with_embeddings(data, model, "cpu", lambda *a: told.append(a))
    assert model.seen == 60 and told[-1] == (60, 60)
    for side in ("train", "validation", "test"):
        before, after = getattr(data, side), getattr(found, side)
        expected = before.pixels[before.rows].astype(np.float32).mean(axis=(1, 2))
        np.testing.assert_allclose(after.pixels[after.rows], expected, rtol=1e-5)
        assert np.array_equal(after.labels, before.labels)
    again = with_embeddings(load_clinic_data(root, tmp_path / "cache", 16), model, "cpu")
    assert model.seen == 60 and np.array_equal(again.train.pixels, found.train.pixels)


def test_other_images_have_other_embeddings_and_the_old_ones_go(
    make_clinic: Callable[..., Path], draw, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    root, model = make_clinic(), Means()
    with_embeddings(load_clinic_data(root, tmp_path / "cache", 16), model, "cpu")
    draw(root / "images/000.png", 999)
    found = with_embeddings(load_clinic_data(root, tmp_path / "cache", 16), model, "cpu")
    assert model.seen == 120 and len(found.train.pixels) == 60
    assert len(list((tmp_path / "cache").glob("embeddings-*"))) == 1


def test_a_damaged_file_is_computed_anew(make_clinic: Callable[..., Path], tmp_path: Path) -> None:
    root, model = make_clinic(), Means()
    data = load_clinic_data(root, tmp_path / "cache", 16)
    whole = with_embeddings(data, model, "cpu")
    (path,) = (tmp_path / "cache").glob("embeddings-*")
    for damaged in (b"", b"x" * 100, path.read_bytes()[:-10]):
        path.write_bytes(damaged)
        assert np.array_equal(with_embeddings(data, model, "cpu").train.pixels, whole.train.pixels)
    assert model.seen == 240
