"""Look at images once: decode for the model, and measure for the quality warnings. A few threads, in order."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embryofl_clinic import text
from embryofl_data.reading.decode import DecodeError, open_image, to_square
from embryofl_data.reading.scan import read_file
from embryofl_data.report import picture
from embryofl_data.report.checks.quality import BLURRED_LEAST, ENOUGH_TO_COMPARE, TESTS
from embryofl_data.report.measure import working_size

FEWEST_TO_COMPARE = 4
"""Pictures of a small cohort from which on one is called blurred beside the others."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageCheck:
    """What was seen of one image.

    Attributes
    ----------
    squares : dict of int to numpy.ndarray
        Side in pixels to uint8 (side, side, 3), as in training; empty where it cannot be used.
    values : tuple of float
        As `picture.NAMES`; empty where it cannot be used.
    problem : str
        Why it cannot be used, in words; "" where it can.
    """

    squares: dict[int, Pixels] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    problem: str = ""


def inspect_image(data: bytes, sides: Sequence[int]) -> ImageCheck:
    """Decode a file's content with the hardened decoder; never raises for what the content is."""
    try:
        image = open_image(data).image
    except DecodeError as error:
        return ImageCheck(problem=unusable(error))
    return ImageCheck({side: to_square(image, side) for side in sides}, picture.measure_picture(working_size(image)))


def look_at_file(root: Path, file: str, sides: Sequence[int]) -> ImageCheck:
    """The same of a file of a folder."""
    try:
        data, _ = read_file(root, file)
    except DecodeError as error:
        return ImageCheck(problem=unusable(error))
    except OSError as error:
        return ImageCheck(problem=text.fill(text.texts()["unusable"]["closed"], detail=error.strerror))
    return inspect_image(data, sides)


def unusable(error: DecodeError) -> str:
    """Why a file cannot be used, in words."""
    return text.fill(text.texts()["unusable"][error.kind], detail=error.detail)


def in_order(work: Sequence[Callable[[], ImageCheck]]) -> Iterator[ImageCheck]:
    """Results in the given order; those that wait are bounded, so that memory does not grow with the folder."""
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="look") as pool:
        waiting: deque[Future[ImageCheck]] = deque()
        for job in work:
            waiting.append(pool.submit(job))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def warnings(values: Sequence[tuple[float, ...]]) -> list[list[str]]:
    """The report's quality checks on every usable image of a batch: what each seems to suffer from, in words.

    Parameters
    ----------
    values : sequence of tuple of float
        As in `ImageCheck`, one an image.
    """
    found: list[list[str]] = [[] for _ in values]
    if not values:
        return found
    table = np.array(values, np.float64)
    columns = {name: table[:, number] for number, name in enumerate(picture.NAMES)}
    words = text.texts()["quality"]
    for test in TESTS:
        for index in np.flatnonzero(test.severity(columns) > 1):
            seen = {name: float(column[index]) for name, column in columns.items()}
            found[index].append(text.fill(words[test.id], stretch=2 ** seen["smear"], **seen))
    sharpness = columns["sharpness"]
    if FEWEST_TO_COMPARE <= len(sharpness) < ENOUGH_TO_COMPARE:  # the report compares in larger folders only
        for index in np.flatnonzero(np.median(sharpness) - sharpness > 1.5 * BLURRED_LEAST):
            found[index].append(words["blurred"])
    return found
