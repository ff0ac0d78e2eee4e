"""Pictures in which an embryo can hardly be judged: blurred, smeared, badly lit, off the frame, empty."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embryofl_data.report.finding import Example, Finding, Verdict, plural
from embryofl_data.report.study import FloatArray, Measures, Study

EXAMPLES = 24
ENOUGH_TO_COMPARE = 30
"""Images from which on a picture is compared with the others of its folder."""

SMEARED = 1.9
"""log2 of the ratio of detail along the two main directions; the pictures of Hung Vuong with more are stretched."""
BLURRED, BLURRED_LEAST = 2.3, 1.0
"""Below the folder's median sharpness, in robust standard deviations and in log2: half of the usual fine detail."""
COVERED_LEAST, DIAMETER_LEAST = 0.05, 0.25
OFF_CENTRE, TOUCHING = 0.45, 0.5
CLIPPED_BRIGHT, CLIPPED_DARK = 0.3, 0.7
UNUSUAL_LIGHT = 5.0

Columns = dict[str, FloatArray]


@dataclass(frozen=True)
class _Test:
    """One kind of bad picture: `severity` gives a number for each image, above 1 is a suspect; `note` says what it is."""

    id: str
    title: str
    what: str
    expected: str
    advice: str
    severity: Callable[[Columns], FloatArray]
    note: Callable[[Columns, int], str]


def check(study: Study) -> Iterator[Finding]:
    """Every kind of bad picture; an image is named once, under the first kind that fits."""
    if not study.measures or not study.files:
        return
    measures: Measures = study.measures
    named = np.zeros(len(study.files), bool)
    fine = []
    for test in TESTS:
        severity = test.severity(measures.columns)
        suspects = np.flatnonzero((severity > 1) & ~named)
        named[suspects] = True
        if not len(suspects):
            fine.append(test.what)
            continue
        order = suspects[np.argsort(-severity[suspects], kind="stable")]
        yield Finding(
            test.id,
            test.title,
            Verdict.LOOK,
            f"{plural(len(order), 'image')} {test.what} ({len(order) / len(study.files):.1%}).",
            test.expected,
            test.advice,
            tuple(Example((study.files[index],), test.note(measures.columns, index)) for index in order[:EXAMPLES]),
            len(order),
            pictures=True,
            values={"files": [study.files[index] for index in order]},
        )
    if fine:
        yield Finding("quality", "Picture quality", Verdict.OK, f"No images that {', or '.join(fine)}.")


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


def _light_note(columns: Columns, index: int) -> str:
    return (
        f"mean grey {columns['brightness'][index]:.0f} of 255, "
        f"{columns['bright'][index]:.0%} white, {columns['dark'][index]:.0%} black"
    )


TESTS = (
    _Test(
        "exposure",
        "Too dark or too bright",
        "are too dark, too bright, or lit unlike the rest",
        "Pictures lit like the rest, with little that is fully black or white.",
        "Export them again with the camera's usual exposure, or remove them.",
        _exposure,
        _light_note,
    ),
    _Test(
        "no-embryo",
        "No embryo to be seen",
        "seem to show no embryo",
        "An embryo in every picture.",
        "Look at them; remove those without an embryo.",
        _empty,
        lambda columns, index: f"structure on {columns['coverage'][index]:.0%} of the picture",
    ),
    _Test(
        "smeared",
        "Smeared or stretched pictures",
        "are smeared or stretched along one direction",
        "Round embryos: detail in all directions alike.",
        "Export them again without changing the ratio of height to width; remove what moved while it was taken.",
        lambda columns: columns["smear"] / SMEARED,
        lambda columns, index: f"{2 ** columns['smear'][index]:.1f} times the detail along one direction",
    ),
    _Test(
        "off-frame",
        "Embryo off the frame",
        "show an embryo that is cut off or far from the middle",
        "The whole embryo, near the middle.",
        "Look at them; crop again around the embryo where the original holds it whole.",
        _off_frame,
        lambda columns, index: f"{columns['off_centre'][index]:.0%} off the middle",
    ),
    _Test(
        "blurred",
        "Blurred pictures",
        "are much less sharp than the rest",
        "The sharpness of the rest of the folder.",
        "Look at them; take another focal plane where there is one.",
        _blur,
        lambda columns, index: f"sharpness {columns['sharpness'][index]:.1f}",
    ),
)
