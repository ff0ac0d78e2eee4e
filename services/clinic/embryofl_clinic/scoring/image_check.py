"""Check images before scoring: decode them for the model and measure them for the quality warnings, in a few threads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embryofl_clinic.texts import texts
from embryofl_data.reading.decode import open_image, to_square
from embryofl_data.reading.sandbox import DecodeError
from embryofl_data.reading.scan import read_file
from embryofl_data.report import appearance
from embryofl_data.report.checks.quality import BLURRED_LEAST, ENOUGH_TO_COMPARE, TESTS
from embryofl_data.report.measure import working_size

FEWEST_TO_COMPARE = 4
"""From this many images of a small cohort on, one can be called blurred compared with the others."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageCheck:
    """What an image holds.

    Attributes
    ----------
    squares : dict of int to numpy.ndarray
        Side in pixels to uint8 (side, side, 3), as in training; empty if it cannot be used.
    values : tuple of float
        As `appearance.NAMES`; empty if it cannot be used.
    problem : str
        Why it cannot be used; "" if it can.
    """

    squares: dict[int, Pixels] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    problem: str = ""


def inspect_image(data: bytes, sides: Sequence[int]) -> ImageCheck:
    """Decode a file's content with the hardened decoder; never raises for its content."""
    try:
        image = open_image(data).image
    except DecodeError as error:
        return _unusable(error.kind, error.detail)
    return ImageCheck({side: to_square(image, side) for side in sides}, appearance.measure_image(working_size(image)))


def inspect_file(root: Path, file: str, sides: Sequence[int]) -> ImageCheck:
    """The same for a file of a folder."""
    try:
        data, _ = read_file(root, file)
    except DecodeError as error:
        return _unusable(error.kind, error.detail)
    except OSError as error:
        return _unusable("closed", error.strerror)
    return inspect_image(data, sides)


def _unusable(kind: str, detail: str | None) -> ImageCheck:
    return ImageCheck(problem=texts.unusable[kind].format(detail=detail))


def warnings(values: Sequence[tuple[float, ...]]) -> list[list[str]]:
    """The data report's quality checks on the usable images of a batch: the warnings of each.

    Parameters
    ----------
    values : sequence of tuple of float
        As in `ImageCheck`, one an image.
    """
    warned: list[list[str]] = [[] for _ in values]
    if not values:
        return warned
    columns = dict(zip(appearance.NAMES, np.array(values, np.float64).T, strict=True))
    for test, severity_of in TESTS.items():
        for index in np.flatnonzero(severity_of(columns) > 1):
            measured = {name: float(column[index]) for name, column in columns.items()}
            warned[index].append(texts.quality[test].format(stretch=2 ** measured["smear"], **measured))
    sharpness = columns["sharpness"]
    if FEWEST_TO_COMPARE <= len(sharpness) < ENOUGH_TO_COMPARE:  # the report compares in larger folders only
        for index in np.flatnonzero(np.median(sharpness) - sharpness > 1.5 * BLURRED_LEAST):
            warned[index].append(texts.quality["blurred"])
    return warned
