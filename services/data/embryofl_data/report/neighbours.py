"""Find images of one embryo among many, by their prints.

1. What the folder's prints have in common (a well's rim, the disc of an oocyte) is taken out: their mean and, in larger
   folders, their first principal components.
2. Every print is summed up in rings and directions around its centre, so that rotating the image shifts the
   directions. All pairs are compared in all directions and mirrored, and the likeliest kept.
3. These are aligned (rotated, scaled, shifted) and correlated where they overlap.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from embryofl_data.progress import OnProgress, no_progress
from embryofl_data.report.prints import SIDE, STEP, FloatImage
from embryofl_data.split import Groups

RINGS, DIRECTIONS = 6, 24
RADII = np.linspace(4, SIDE / 2 - 2, RINGS)
SCALES = (1.0, 1.15, 1.3)
"""Of cropped duplicates, which are larger. One of two is the larger one: the smaller need not be tried."""
SEARCH_VERSION = "2"
"""Raised when a rule of the search changes: stored results are then recomputed."""
SMOOTH = 2.0
BLANK = 0.1
"""Standard deviation of a print below which the image shows nothing; of embryos it is 0.4 and more."""
MOST_COMMON = 6
IMAGES_A_COMPONENT = 100
"""In a small folder a component would mostly be that of one image."""
SAMPLE = 1000
"""Prints from which the common part is computed."""
PRESELECT = 0.60
"""Of the ring descriptors: true pairs of Hung Vuong are above 0.68, one in a thousand other pairs is above this."""
CANDIDATES = 6
"""At most, for each image."""
MOST_CANDIDATES = 20_000
"""In all, the likeliest. Synthetic images, alike in everything but the cells, would give hundreds of thousands."""
ALIKE_PLAIN, ALIKE_GAIN = 0.76, 0.03
"""Least similarity of a pair, and how much less is enough for every common component that was taken out."""
LARGE_GROUP = 8
"""Images of one embryo from which on further pairs among them add nothing: time-lapse series."""
ROTATED_COMPARISONS = 8e9
"""Above this many comparisons (images squared times directions) rotated duplicates are not searched for."""
SHIFT = 12
_PADDED = SIDE + 32

GetPrint = Callable[[int], npt.NDArray[np.int8]]


class Pair(NamedTuple):
    """Indices of two usable images that show one embryo, `first < second`, and their correlation after alignment."""

    first: int
    second: int
    likeness: float


def find_pairs(count: int, get: GetPrint, progress: OnProgress = no_progress) -> tuple[Pair, ...]:
    """Find pairs of images that show one embryo, the most similar first.

    `get` maps an index to a print, int8 (SIDE, SIDE), and is called again when needed, so that memory stays bounded.
    """
    if count < 2:
        return ()
    common = _Common.of(count, get)
    alike = ALIKE_PLAIN - ALIKE_GAIN * len(common.components)
    align = _Aligner(get, common)
    pairs = []
    candidates = _candidates(_descriptors(count, get, common), float(count) ** 2 * DIRECTIONS <= ROTATED_COMPARISONS)
    groups: Groups[int] = Groups()
    for done, (first, second, pose) in enumerate(candidates, 1):
        joined = groups.of(first)
        if second not in joined or len(joined) < LARGE_GROUP:
            likeness = align.likeness(first, second, pose, alike)
            if likeness >= alike:
                pairs.append(Pair(first, second, min(1.0, likeness)))
                groups.join(first, second)
        progress(done, len(candidates))
    return tuple(sorted(pairs, key=lambda pair: -pair.likeness))


@dataclass(frozen=True)
class _Common:
    """What the prints of a folder share: `mean` (SIDE²,) and orthonormal `components` (k, SIDE²)."""

    mean: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]

    @classmethod
    def of(cls, count: int, get: GetPrint) -> "_Common":
        sample = np.random.default_rng(0).permutation(count)[:SAMPLE]
        prints = np.stack([get(int(index)).ravel() for index in np.sort(sample)]).astype(np.float32) * STEP
        # A mean of few images is mostly those images themselves: it would take out what two of them share.
        mean = prints.mean(axis=0) * (len(prints) / (len(prints) + 10))
        prints -= mean
        number = min(MOST_COMMON, len(prints) // IMAGES_A_COMPONENT)
        components = np.linalg.svd(prints, full_matrices=False).Vh[:number] if number else prints[:0]
        return cls(mean, components)

    def without(self, print_: npt.NDArray[np.int8]) -> FloatImage:
        """A print without the common part, float32 (SIDE, SIDE)."""
        rest = print_.ravel().astype(np.float32) * STEP - self.mean
        rest -= (self.components @ rest) @ self.components
        return np.asarray(rest.reshape(SIDE, SIDE), np.float32)


@dataclass(frozen=True)
class _Pose:
    """How the first of two images is placed against the second: mirrored top to bottom, rotated, scaled."""

    mirrored: bool = False
    degrees: float = 0.0
    scale: float = 1.0


def _descriptors(count: int, get: GetPrint, common: _Common) -> npt.NDArray[np.float32]:
    """Ring descriptors at each of `SCALES`, float32 (scales, count, RINGS, DIRECTIONS).

    Each is of length 1, or 0 for an image without any detail.
    """
    angle = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    middle = (SIDE - 1) / 2
    weight = np.sqrt(RADII)[:, None]
    points = np.stack([np.outer(RADII, np.sin(angle)), np.outer(RADII, np.cos(angle))])  # (2, rings, directions)
    result = np.empty((len(SCALES), count, RINGS, DIRECTIONS), np.float32)
    for index in range(count):
        print_ = get(index)
        if print_.std() * STEP < BLANK:
            result[:, index] = 0.0
            continue
        smooth = ndimage.gaussian_filter(common.without(print_), SMOOTH)
        for number, scale in enumerate(SCALES):
            values = ndimage.map_coordinates(smooth, middle + points / scale, order=1) * weight
            values -= values.mean()
            length = np.linalg.norm(values)
            result[number, index] = values / length if length > 1.0 else 0.0
    return result


def _candidates(descriptors: npt.NDArray[np.float32], rotated: bool) -> list[tuple[int, int, _Pose]]:
    """Likely pairs, first before second, each with the pose in which they are likeliest."""
    count = descriptors.shape[1]
    flat = descriptors[0].reshape(count, -1)
    likely: list[tuple[float, int, int, _Pose]] = []
    block = max(1, min(512, 8_000_000 // count))
    for start in range(0, count, block):
        rows = descriptors[:, start : start + block]
        length = rows.shape[1]
        # Every pair once: only images from this block on are compared with it.
        score = np.full((length, count - start), -1.0, np.float32)
        product = np.empty_like(score)
        others = flat[start:].T
        for _, posed in _poses(rows, rotated):
            np.matmul(posed.reshape(length, -1), others, out=product)
            np.maximum(score, product, out=score)
        score[np.tril_indices(length, 0, score.shape[1])] = -1.0
        kept = min(CANDIDATES, score.shape[1])
        nearest = np.argpartition(score, -kept, axis=1)[:, -kept:]
        for row, columns in enumerate(nearest):
            for column in columns[score[row, columns] >= PRESELECT]:
                poses = _poses(rows[:, row : row + 1], rotated)
                pose, _ = max(poses, key=lambda posed: float(posed[1].ravel() @ flat[start + column]))
                likely.append((float(score[row, column]), start + row, start + int(column), pose))
    likeliest = sorted(likely, key=lambda pair: (-pair[0], *pair[1:3]))[:MOST_CANDIDATES]
    return sorted((pair[1:] for pair in likeliest), key=lambda pair: pair[:2])


def _poses(rows: npt.NDArray[np.float32], rotated: bool) -> Iterator[tuple[_Pose, npt.NDArray[np.float32]]]:
    """The poses that are tried, and the descriptors (rows, RINGS, DIRECTIONS) in each."""
    for number, scale in enumerate(SCALES):
        yield _Pose(scale=scale), rows[number]
    if not rotated:
        return
    mirrored = rows[0][:, :, -np.arange(DIRECTIONS) % DIRECTIONS]
    for shift in range(DIRECTIONS):
        degrees = shift * 360 / DIRECTIONS
        if shift:
            yield _Pose(degrees=degrees), np.roll(rows[0], shift, axis=2)
        yield _Pose(True, degrees), np.roll(mirrored, shift, axis=2)


class _Aligner:
    """Correlates two prints in the best alignment near a given pose."""

    def __init__(self, get: GetPrint, common: _Common) -> None:
        self._rest = lru_cache(maxsize=512)(lambda index: common.without(get(index)))
        self._spectra = lru_cache(maxsize=512)(lambda index: _spectra(self._rest(index)))

    def likeness(self, first: int, second: int, pose: _Pose, enough: float) -> float:
        """Largest correlation near a pose; the search ends early where it is hopeless or clear."""
        best, at = self._try(first, second, pose), pose
        if best < enough - 0.3 or best >= enough + 0.1:
            return best
        for turns, scales in (((-7.5, 7.5), ()), ((), (0.91, 1.1)), ((-3.5, 3.5), ()), ((), (0.95, 1.05))):
            around = [replace(at, degrees=at.degrees + turn) for turn in turns]
            around += [replace(at, scale=at.scale * scale) for scale in scales]
            for tried in around:
                correlation = self._try(first, second, tried)
                if correlation > best:
                    best, at = correlation, tried
        return best

    def _try(self, first: int, second: int, pose: _Pose) -> float:
        if pose == _Pose():
            return _correlate(self._spectra(first), self._spectra(second))
        return _correlate(_spectra(_warp(self._rest(first), pose)), self._spectra(second))


Spectra = tuple[npt.NDArray[np.complex64], npt.NDArray[np.complex64], npt.NDArray[np.complex64]]


def _warp(image: FloatImage, pose: _Pose) -> FloatImage:
    """Mirror, rotate and scale about the centre; NaN outside the image."""
    source = image[::-1] if pose.mirrored else image
    radians = np.deg2rad(pose.degrees)
    matrix = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]) / pose.scale
    middle = np.full(2, (SIDE - 1) / 2)
    warped = ndimage.affine_transform(source, matrix, middle - matrix @ middle, order=1, cval=np.nan)
    return np.asarray(warped, np.float32)


def _spectra(image: FloatImage) -> Spectra:
    """Transforms of an image, its square, and the mask of its pixels that are not NaN, zero-padded."""
    inside = np.isfinite(image)
    values = np.where(inside, image, 0.0).astype(np.float32)
    size = (_PADDED, _PADDED)
    return (
        np.asarray(fft.rfft2(values, size), np.complex64),
        np.asarray(fft.rfft2(values * values, size), np.complex64),
        np.asarray(fft.rfft2(inside.astype(np.float32), size), np.complex64),
    )


def _correlate(one: Spectra, other: Spectra) -> float:
    """Largest correlation over shifts of up to `SHIFT` pixels each way, of the part that both show."""
    size = (_PADDED, _PADDED)
    product = fft.irfft2(one[0] * np.conj(other[0]), size)
    energy = fft.irfft2(one[1] * np.conj(other[2]), size)
    energy_other = fft.irfft2(one[2] * np.conj(other[1]), size)
    shifts = np.r_[0 : SHIFT + 1, _PADDED - SHIFT : _PADDED]
    window = np.ix_(shifts, shifts)
    scale = np.sqrt(np.maximum(energy[window], 0) * np.maximum(energy_other[window], 0))
    return float((product[window] / np.maximum(scale, 1.0)).max())
