"""Embeddings are computed once for exactly these pixels, and again if their file is damaged."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from embryofl_data.dataset import load_clinic_data
from embryofl_data.embeddings import with_embeddings


class Means:
    """Stands in for a backbone: the mean of each channel."""

    EMBEDDING = "means-1"

    def __init__(self) -> None:
        self.seen = 0

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return images.float().mean(dim=(2, 3))


def test_each_image_is_embedded_only_once(make_clinic: Callable[..., Path], tmp_path: Path) -> None:
    root, model, progress = make_clinic(), Means(), []
    data = load_clinic_data(root, tmp_path / "cache", 16)
    embedded = with_embeddings(data, model, "cpu", lambda *a: progress.append(a))
    assert model.seen == 60 and progress[-1] == (60, 60)
    for side in ("train", "validation", "test"):
        before, after = getattr(data, side), getattr(embedded, side)
        expected = before.pixels[before.rows].astype(np.float32).mean(axis=(1, 2))
        np.testing.assert_allclose(after.pixels[after.rows], expected, rtol=1e-5)
        assert np.array_equal(after.labels, before.labels)
    again = with_embeddings(load_clinic_data(root, tmp_path / "cache", 16), model, "cpu")
    assert model.seen == 60 and np.array_equal(again.train.pixels, embedded.train.pixels)


def test_changed_images_get_new_embeddings_and_old_ones_are_removed(
    make_clinic: Callable[..., Path], draw, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    root, model = make_clinic(), Means()
    with_embeddings(load_clinic_data(root, tmp_path / "cache", 16), model, "cpu")
    draw(root / "images/000.png", 999)
    embedded = with_embeddings(load_clinic_data(root, tmp_path / "cache", 16), model, "cpu")
    assert model.seen == 120 and len(embedded.train.pixels) == 60
    assert len(list((tmp_path / "cache").glob("embeddings-*"))) == 1


def test_damaged_embeddings_are_computed_again(make_clinic: Callable[..., Path], tmp_path: Path) -> None:
    root, model = make_clinic(), Means()
    data = load_clinic_data(root, tmp_path / "cache", 16)
    embedded = with_embeddings(data, model, "cpu")
    (path,) = (tmp_path / "cache").glob("embeddings-*")
    for damaged in (b"", b"x" * 100, path.read_bytes()[:-10]):
        path.write_bytes(damaged)
        assert np.array_equal(with_embeddings(data, model, "cpu").train.pixels, embedded.train.pixels)
    assert model.seen == 240
