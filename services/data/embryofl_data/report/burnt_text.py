"""Text burnt into an image: a small convolutional network that scores every 8x8 cell for letters.

The weights (`burnt_text.npz`) were trained by `scripts/train_text_detector.py` on drawn embryos and procedural
textures with printed lines, no real image. It runs in NumPy, so that workers need no PyTorch.
"""

from importlib import resources

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from embryofl_data.reading.decode import scaled

STRIDE = 8
MOST_SIDE = 768
"""Larger images are scaled down: text as small as that would not be read on a screen either."""
LARGE_LETTERS = 640
"""Longer side from which letters may be too large for the network: the image is scored at half the size, too."""
RUN = 5
"""Cells side by side whose mean counts: a line of text is wider than a speck of debris."""
SURE = 4.0
"""Mean logit that is scored 0.5: above it are 96 % of 187 made-up names and dates on real images, in fonts unseen in
training as well, and 1.4 % of 347 real images without text."""
NEIGHBOURHOOD, COARSE = 36, 4
"""Pixels over which light and contrast are evened out."""
FAINT = 6.0
"""Grey levels: contrast below this is not brought up."""

FloatImage = npt.NDArray[np.float32]


def text_score(image: Image.Image) -> float:
    """Score from 0 to 1 that an image of mode `L` and any size has text burnt in."""
    if max(image.size) > MOST_SIDE:
        image = scaled(image, MOST_SIDE)
    best = _best_run(image)
    if max(image.size) >= LARGE_LETTERS:
        best = max(best, _best_run(image.reduce(2)))
    return float(1 / (1 + np.exp(SURE - best)))


def _best_run(image: Image.Image) -> float:
    """The highest mean logit of `RUN` cells side by side."""
    if min(image.size) < 2 * STRIDE or image.width < (RUN + 1) * STRIDE:
        return -20.0
    logits = cell_logits(normalise(np.asarray(image)))
    runs = np.lib.stride_tricks.sliding_window_view(logits, RUN, axis=1).mean(axis=2)
    return float(runs.max())


def normalise(grey: npt.NDArray[np.uint8]) -> FloatImage:
    """Even out light and contrast: uint8 (h, w) to float32 (h, w) of about -4 to 4.

    Mean and spread of the neighbourhood come from squares of `COARSE` pixels: they vary slowly.
    """
    height, width = grey.shape
    values = grey.astype(np.float32)
    mean, square = _around(values), _around(values * values)
    gain = 1 / (np.sqrt(np.maximum(square - mean * mean, 0)) + FAINT)
    fine = (mean.shape[1] * COARSE, mean.shape[0] * COARSE)
    values -= np.asarray(Image.fromarray(mean).resize(fine, Image.Resampling.BILINEAR))[:height, :width]
    values *= gain.repeat(COARSE, axis=0).repeat(COARSE, axis=1)[:height, :width]
    return np.asarray(np.clip(values, -4, 4), np.float32)


def _around(values: FloatImage) -> FloatImage:
    """Mean around every square of `COARSE` pixels, (ceil(h / COARSE), ceil(w / COARSE))."""
    squares = np.asarray(Image.fromarray(values).reduce(COARSE))
    return np.asarray(ndimage.uniform_filter(squares, NEIGHBOURHOOD // COARSE, mode="nearest"), np.float32)


def cell_logits(values: FloatImage) -> FloatImage:
    """The network's output: normalised (h, w) to (ceil(h / 8), ceil(w / 8)), above 0 for text."""
    planes = values[None]
    for number, (weight, bias, stride) in enumerate(_LAYERS):
        planes = _convolve(planes, weight, stride) + bias[:, None, None]
        if number < len(_LAYERS) - 1:
            np.maximum(planes, 0, out=planes)
    return np.asarray(planes[0], np.float32)


def _convolve(planes: FloatImage, weight: FloatImage, stride: int) -> FloatImage:
    """Cross-correlate (c, h, w) with (o, c, k, k), zero-padded by k // 2."""
    outputs, _, size, _ = weight.shape
    pad = size // 2
    padded = np.pad(planes, ((0, 0), (pad, pad), (pad, pad))) if pad else planes
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    height, width = windows.shape[1:3]
    columns = windows.transpose(0, 3, 4, 1, 2).reshape(-1, height * width)
    return np.asarray((weight.reshape(outputs, -1) @ columns).reshape(outputs, height, width), np.float32)


def _layers() -> list[tuple[FloatImage, FloatImage, int]]:
    with resources.files(__package__).joinpath("burnt_text.npz").open("rb") as file, np.load(file) as arrays:
        count = sum(1 for name in arrays.files if name.startswith("weight"))
        layers = [[arrays[f"{part}{number}"] for part in ("weight", "bias", "stride")] for number in range(count)]
        return [(weight.astype(np.float32), bias.astype(np.float32), int(stride)) for weight, bias, stride in layers]


_LAYERS = _layers()  # at once: a worker of the sandbox opens no further files
