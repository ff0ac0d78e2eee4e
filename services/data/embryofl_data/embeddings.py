"""Embeddings of decoded images on disk: what a frozen backbone makes of an image is computed once.

Beside a cache's pixels `<size>px-<folder>-<content>.u8` lies `embeddings-<name>-<size>px-<folder>-<content>.npy`, float32
(n, d), a row for each row of pixels. Other content has another name, so that a file is right or not there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from embryofl.files import atomic
from embryofl_data.dataset import ClinicData, ImageExamples

if TYPE_CHECKING:
    import torch

BATCH = 32


@runtime_checkable
class Embedder(Protocol):
    """A model that takes embeddings in the place of images."""

    EMBEDDING: str
    """Names what `embed` computes: embeddings of different names must not be mixed."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, s, s) to embeddings (n, d)."""


def with_embeddings(
    data: ClinicData, model: Embedder, device: str, progress: Callable[[int, int], None] | None = None
) -> ClinicData:
    """The same examples with embeddings, float32 (m, d), in the place of pixels, uint8 (m, s, s, 3).

    Parameters
    ----------
    data : ClinicData
        As `load_clinic_data` gives it: its pixels are a memory map of a file in the cache.
    model : Embedder
    device : str
        Where to compute them.
    progress : callable, optional
        Called with (done, total) images while computing.

    Raises
    ------
    UserError
        When the disk is full.
    """
    pixels = data.train.pixels
    name = Path(str(getattr(pixels, "filename", "")))
    path = name.with_name(f"embeddings-{model.EMBEDDING}-{name.stem}.npy")
    embeddings = _read(path, len(pixels))
    if embeddings is None:
        embeddings = _compute(pixels, model, device, progress)
        for old in path.parent.glob(f"embeddings-{model.EMBEDDING}-{name.stem.rpartition('-')[0]}-*.npy"):
            old.unlink(missing_ok=True)
        with atomic(path) as file:
            np.save(file, embeddings)

    def swap(examples: ImageExamples) -> ImageExamples:
        return replace(examples, pixels=embeddings)

    return replace(data, train=swap(data.train), validation=swap(data.validation), test=swap(data.test))


def _read(path: Path, rows: int) -> npt.NDArray[np.float32] | None:
    try:
        found: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == np.float32 and found.ndim == 2 and len(found) == rows else None


def _compute(
    pixels: npt.NDArray[Any], model: Embedder, device: str, progress: Callable[[int, int], None] | None
) -> npt.NDArray[np.float32]:
    import torch

    parts = []
    with torch.inference_mode():
        for at in range(0, len(pixels), BATCH):
            images = torch.from_numpy(np.ascontiguousarray(pixels[at : at + BATCH])).to(device).permute(0, 3, 1, 2)
            parts.append(model.embed(images).float().cpu().numpy())
            if progress:
                progress(min(at + BATCH, len(pixels)), len(pixels))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
