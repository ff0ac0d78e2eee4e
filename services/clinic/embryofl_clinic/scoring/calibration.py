"""What a score means: the calibration that a run's final evaluation learned from validation patients (`model.json`)."""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FEW = 30
"""Based on fewer embryos, an observed share is uncertain by more than a sixth either way; the app then says so."""

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[float, Field(ge=0, le=1e9)]


class CalibrationBin(BaseModel):
    """Validation embryos whose calibrated probability lay between `begin` and `end`, and how many had label 1."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    begin: Share = Field(alias="from")
    end: Share = Field(alias="to")
    embryos: Count
    good: Count


class CardCalibration(BaseModel):
    """From a score to a probability, ``sigmoid(logit / temperature + intercept)``, and the observed share at it.

    `threshold` is for the score itself; `table` is by calibrated probability.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    temperature: float = Field(gt=0, le=1e3)
    intercept: float = Field(ge=-1e3, le=1e3)
    threshold: Share
    table: tuple[CalibrationBin, ...] = Field(default=(), max_length=1000)

    def probability(self, logit: float) -> float:
        """The calibrated probability of class 1."""
        return sigmoid(logit / self.temperature + self.intercept)

    def seen(self, logit: float) -> CalibrationBin | None:
        """The table's bin that a score falls into; None if no bin contains it or that bin has no embryo."""
        at = self.probability(logit)
        last = max((row.end for row in self.table), default=0.0)
        for row in self.table:
            if row.embryos > 0 and (row.begin <= at < row.end or at == row.end == last):
                return row
        return None


def sigmoid(x: float) -> float:
    """Logistic function without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def wilson(good: float, embryos: float, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share. Wilson, J. Am. Stat. Assoc. 22 (1927), 209-212."""
    share, z2 = good / embryos, z * z
    middle = (share + z2 / (2 * embryos)) / (1 + z2 / embryos)
    half = z * math.sqrt(share * (1 - share) / embryos + z2 / (4 * embryos**2)) / (1 + z2 / embryos)
    return max(0.0, middle - half), min(1.0, middle + half)
