"""Images in which an embryo can hardly be judged: blurred, smeared, badly lit, cut off, empty."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from embryofl_data.report.report import Example, Finding, make_finding, texts
from embryofl_data.report.study import FloatArray, Study

ENOUGH_TO_COMPARE = 30
"""Images from which on an image is compared with the others of its folder."""

SMEARED = 1.9
"""log2 of the ratio of detail along the two main directions; the images of Hung Vuong with more are stretched."""
BLURRED, BLURRED_LEAST = 2.3, 1.0
"""Below the folder's median sharpness, in robust standard deviations and in log2: half of the usual fine detail."""
COVERED_LEAST, DIAMETER_LEAST = 0.05, 0.25
OFF_CENTRE, TOUCHING = 0.45, 0.5
CLIPPED_BRIGHT, CLIPPED_DARK = 0.3, 0.7
UNUSUAL_LIGHT = 5.0

Columns = dict[str, FloatArray]


def check(study: Study) -> Iterator[Finding]:
    """Every kind of bad image; an image is named once, under the first kind that fits."""
    if not study.measures or not study.files:
        return
    columns = study.measures.columns
    named = np.zeros(len(study.files), bool)
    fine = []
    for test, severity_of in TESTS.items():
        severity = severity_of(columns)
        suspects = np.flatnonzero((severity > 1) & ~named)
        named[suspects] = True
        if not len(suspects):
            fine.append(texts()[test]["kind"])
            continue
        order = suspects[np.argsort(-severity[suspects], kind="stable")]
        yield make_finding(
            test,
            shown=[Example((study.files[index],), _note(test, columns, index)) for index in order],
            pictures=True,
            values={"files": [study.files[index] for index in order]},
            images=len(order),
            share=len(order) / len(study.files),
        )
    if fine:
        yield make_finding("quality:none", kinds=", or ".join(fine))


def _note(test: str, columns: Columns, index: int) -> str:
    values = {name: float(column[index]) for name, column in columns.items()}
    return str(texts()[test]["note"].format(**values, stretch=2 ** values["smear"]))


def robust_z(values: FloatArray) -> npt.NDArray[np.float64]:
    """Distance from the median in robust standard deviations (1.4826 times the median absolute deviation), (n,)."""
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle))
    return np.asarray((values - middle) / max(spread, 1e-9, 0.02 * abs(middle)))


def _blur(columns: Columns) -> FloatArray:
    """Compared with the others; 0 where there are too few of them."""
    sharpness = columns["sharpness"]
    if len(sharpness) < ENOUGH_TO_COMPARE:
        return np.zeros(len(sharpness))
    return np.minimum(-robust_z(sharpness) / BLURRED, (np.median(sharpness) - sharpness) / BLURRED_LEAST)


def _empty(columns: Columns) -> FloatArray:
    return np.maximum(
        COVERED_LEAST / np.maximum(columns["coverage"], 1e-3), DIAMETER_LEAST / np.maximum(columns["diameter"], 1e-3)
    )


def _off_frame(columns: Columns) -> FloatArray:
    return np.maximum(columns["off_centre"] / OFF_CENTRE, columns["edge_touch"] / TOUCHING)


def _exposure(columns: Columns) -> FloatArray:
    worst = np.maximum(columns["bright"] / CLIPPED_BRIGHT, columns["dark"] / CLIPPED_DARK)
    if len(worst) >= ENOUGH_TO_COMPARE:
        worst = np.maximum(worst, np.abs(robust_z(columns["brightness"])) / UNUSUAL_LIGHT)
    return worst


TESTS: dict[str, Callable[[Columns], FloatArray]] = {
    "exposure": _exposure,
    "no-embryo": _empty,
    "smeared": lambda columns: columns["smear"] / SMEARED,
    "off-frame": _off_frame,
    "blurred": _blur,
}
"""Kinds of bad images by finding: measurements to a number for each image; above 1 is a suspect."""
