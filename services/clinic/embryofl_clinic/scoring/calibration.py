"""What a score means: the calibration that a run's final evaluation learned from validation patients (`model.json`)."""

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from embryofl.metrics.bins import expit

FEW = 30
"""Based on fewer embryos, an observed share is uncertain by more than a sixth either way; the app then says so."""

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[float, Field(ge=0, le=1e9)]


class CardPart(BaseModel):
    """A part of a card; fields that scoring does not need are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class CalibrationBin(CardPart):
    """Validation embryos whose calibrated probability lay between `begin` and `end`, and how many had label 1."""

    begin: Share = Field(alias="from")
    end: Share = Field(alias="to")
    embryos: Count
    good: Count


class CardCalibration(CardPart):
    """From a score to a probability, ``expit(logit / temperature + intercept)``, and the observed share at it.

    `threshold` is for the score itself; `table` is by calibrated probability.
    """

    temperature: float = Field(gt=0, le=1e3)
    intercept: float = Field(ge=-1e3, le=1e3)
    threshold: Share
    table: tuple[CalibrationBin, ...] = Field(default=(), max_length=1000)

    def probability(self, logit: float) -> float:
        """The calibrated probability of class 1."""
        return float(expit(np.asarray(logit / self.temperature + self.intercept)))

    def seen(self, logit: float) -> CalibrationBin | None:
        """The table's bin that a score falls into; None if no bin contains it or that bin has no embryo."""
        at = self.probability(logit)
        last = max((row.end for row in self.table), default=0.0)
        for row in self.table:
            if row.embryos > 0 and (row.begin <= at < row.end or at == row.end == last):
                return row
        return None
