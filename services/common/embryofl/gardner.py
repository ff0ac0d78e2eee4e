"""Gardner grades as numbers to learn: expansion, inner cell mass and trophectoderm of a blastocyst.

A grade is an order and not a measure, so it becomes steps, each a yes or no that is learned like a label (Frank and Hall,
"A Simple Approach to Ordinal Classification", ECML 2001): expansion 4 is "more than 1, 2 and 3, not more than 4 or 5".
Unknown grades are NaN and teach nothing.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from embryofl.schema import Strict

Target = Literal["expansion", "icm", "te"]
LEVELS: Final[dict[Target, tuple[str, ...]]] = {
    "expansion": ("1", "2", "3", "4", "5", "6"),
    "icm": ("C", "B", "A"),
    "te": ("C", "B", "A"),
}
"""From the lowest to the highest (Gardner and Schoolcraft 1999)."""
STEPS: Final = sum(len(levels) - 1 for levels in LEVELS.values())
COLUMNS: Final[dict[Target, slice]] = {"expansion": slice(0, 5), "icm": slice(5, 7), "te": slice(7, 9)}


class Agreement(Strict):
    """How predicted grades agree with given ones: number of embryos, of exact agreements, and the sum of the distances in
    levels."""

    embryos: int = Field(ge=1, le=10**9)
    exact: int = Field(ge=0)
    distance: int = Field(ge=0)

    @model_validator(mode="after")
    def _possible(self) -> "Agreement":
        wrong = self.embryos - self.exact
        if not 0 <= wrong <= self.distance <= 5 * wrong:
            raise ValueError("sums that no grades can have")
        return self


def steps_of(expansion: str, icm: str, te: str) -> list[float]:
    """The steps of an embryo's grades as written, `STEPS` numbers: 1, 0, or NaN where the grade is none of `LEVELS`."""
    written: dict[Target, str] = {"expansion": expansion, "icm": icm, "te": te}
    steps: list[float] = []
    for target, levels in LEVELS.items():
        grade = written[target].strip().upper()
        level = levels.index(grade) if grade in levels else None
        steps += [float("nan") if level is None else float(level > step) for step in range(len(levels) - 1)]
    return steps


def agreement(logits: npt.NDArray[np.float64], steps: npt.NDArray[np.float32], fewest: int) -> dict[Target, Agreement]:
    """Sums of how predicted grades agree with given ones; a target with fewer than `fewest` graded embryos is withheld.

    Parameters
    ----------
    logits : numpy.ndarray
        float64 (n, STEPS). A predicted level is the number of steps that are more likely than not.
    steps : numpy.ndarray
        float32 (n, STEPS), NaN = unknown.
    fewest : int
    """
    agreements: dict[Target, Agreement] = {}
    for target, columns in COLUMNS.items():
        graded = ~np.isnan(steps[:, columns]).any(axis=1)
        if graded.sum() < max(fewest, 1):
            continue
        off = np.abs((logits[graded, columns] > 0).sum(axis=1) - steps[graded, columns].sum(axis=1)).astype(np.int64)
        agreements[target] = Agreement(embryos=int(graded.sum()), exact=int((off == 0).sum()), distance=int(off.sum()))
    return agreements


def added(parts: Sequence[dict[Target, Agreement]]) -> dict[Target, Agreement]:
    """The sums of several clinics together."""
    return {
        target: Agreement(
            embryos=sum(p[target].embryos for p in parts if target in p),
            exact=sum(p[target].exact for p in parts if target in p),
            distance=sum(p[target].distance for p in parts if target in p),
        )
        for target in LEVELS
        if any(target in p for p in parts)
    }
