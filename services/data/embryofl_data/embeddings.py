"""Embeddings of decoded images on disk, so that the output of a frozen backbone is computed once per image.

Next to a cache's pixels `<size>px-<folder>-<content>.u8` is `embeddings-<name>-<size>px-<folder>-<content>.npy`, float32
(n, d), a row for each row of pixels. Other content has another name, so that a file is valid or missing.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from embryofl.files import atomic
from embryofl_data.dataset import ClinicData
from embryofl_data.progress import OnProgress, no_progress
from embryofl_data.split import SPLITS

BATCH = 32


@runtime_checkable
class Embedder(Protocol):
    """A model that takes embeddings instead of images."""

    EMBEDDING: str
    """Names what `embed` computes: embeddings of different names must not be mixed."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, s, s) to embeddings (n, d)."""


def with_embeddings(data: ClinicData, model: Embedder, device: str, progress: OnProgress = no_progress) -> ClinicData:
    """The same examples with embeddings, float32 (m, d), instead of pixels, uint8 (m, s, s, 3).

    The pixels of `data` must be a memory map of a file in the cache, as `load_clinic_data` gives them. `progress` is
    called with (done, total) images.

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

    return replace(data, **{split: replace(getattr(data, split), pixels=embeddings) for split in SPLITS})


def _read(path: Path, rows: int) -> npt.NDArray[np.float32] | None:
    try:
        stored: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return stored if stored.dtype == np.float32 and stored.ndim == 2 and len(stored) == rows else None


def _compute(pixels: npt.NDArray[Any], model: Embedder, device: str, progress: OnProgress) -> npt.NDArray[np.float32]:
    parts = []
    with torch.inference_mode():
        for at in range(0, len(pixels), BATCH):
            images = torch.tensor(pixels[at : at + BATCH], device=device).permute(0, 3, 1, 2)
            parts.append(model.embed(images).float().cpu().numpy())
            progress(min(at + BATCH, len(pixels)), len(pixels))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
