"""Metrics as sums over many embryos: what may leave a clinic, and what the hub computes from it.

A clinic sums its scores into a `ScoreSums`; the hub adds those of all clinics and computes AUROC, AUPRC, Brier score,
calibration and sensitivity/specificity at any threshold from the sums. Sums of several clinics give the metrics of the
pooled scores, up to what the bins lose of the order of scores. NumPy only: the hub imports this module and never PyTorch.

What travels, for each day and each label:

* counts of scores in `BINS` fixed bins (integers, no bin sums, so that no bin reveals a score more finely than its
  width);
* the sum of the log losses and the sum of the squared errors;
* sums over the mixed cohorts, for how well embryos are ranked within one (`ranking`).

A count of one would reveal the score of one embryo to within a bin. With the model and a candidate image, one could then
tell whether that image was among those evaluated. `ScoreSums.suppress` therefore does three things before sums leave a
clinic:

* a day on which a label has fewer than ``minimum`` embryos (but some) is withheld, counts, losses and all; only the fact
  that it was withheld is passed on. The other label is withheld with it, because a total known from elsewhere would
  give the small count by subtraction, and because every metric of the rest would be misleading;
* the scores of each other day are micro-aggregated: neighbours in order of score are counted together in one bin, so
  that no bin that leaves holds fewer than ``group`` embryos;
* sums over fewer than ``minimum`` cohorts are withheld, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from embryofl.metrics import from_histogram
from embryofl.metrics.bins import BINS, EDGES, SCORE_FLOOR, FloatArray, IntArray, bin_of, nearest_edge
from embryofl.metrics.day import DayForm, DaySums
from embryofl.metrics.from_histogram import Metrics
from embryofl.metrics.grouping import grouped
from embryofl.metrics.ranking import RankingSums, rank_cohorts
from embryofl.schema import Strict, explain

FORMAT = 1
SMALLEST_COUNT = 5
"""A clinic releases nothing about fewer embryos than this, unless its policy sets another number."""
MAX_DAY = 14
MOST_BLUR = 0.5
"""Part of the order of scores that groups may hide. With more, there is no AUROC."""


class _Form(Strict):
    format: Annotated[int, Field(strict=True, ge=FORMAT, le=FORMAT)]
    bins: Annotated[int, Field(strict=True, ge=BINS, le=BINS)]
    days: dict[Annotated[str, Field(pattern=r"^([0-9]|1[0-4])$")], DayForm]


class ScoredEmbryos(NamedTuple):
    """Embryos with their scores, (n,) each, as `ScoreSums.from_scores` takes them. They never leave the clinic."""

    scores: FloatArray
    labels: IntArray
    days: IntArray
    cohorts: IntArray | None = None

    def sums(self) -> ScoreSums:
        """The sums over these embryos."""
        return ScoreSums.from_scores(*self)


@dataclass(frozen=True)
class ScoreSums:
    """Sums over many embryos, per day of development (0 = unknown).

    Attributes
    ----------
    days : dict of int to DaySums
    """

    days: Mapping[int, DaySums] = field(default_factory=dict)

    @classmethod
    def from_scores(
        cls, scores: npt.ArrayLike, labels: npt.ArrayLike, days: npt.ArrayLike, cohorts: npt.ArrayLike | None = None
    ) -> ScoreSums:
        """Sum the scores of embryos.

        Parameters
        ----------
        scores : array_like of float, (n,)
            Probabilities of label 1, in [0, 1].
        labels : array_like of int, (n,)
            0 or 1.
        days : array_like of int, (n,)
            Day of development, 0 to 14; 0 = unknown.
        cohorts : array_like of int, (n,), optional
            Number of each embryo's patient; below 0 = unknown. A cohort is a patient's embryos of one day.

        Raises
        ------
        ValueError
            If lengths differ or a value is out of range or not finite.
        """
        score = np.asarray(scores, np.float64).reshape(-1)
        label = np.asarray(labels, np.int64).reshape(-1)
        day = np.asarray(days, np.int64).reshape(-1)
        cohort = np.full(len(day), -1) if cohorts is None else np.asarray(cohorts, np.int64).reshape(-1)
        if not len(score) == len(label) == len(day):
            raise ValueError(
                f"found {len(score)} scores, {len(label)} labels and {len(day)} days; expected equal numbers"
            )
        if not bool(np.all((score >= 0) & (score <= 1))):  # NaN compares false
            raise ValueError("found a score that is not a number in [0, 1]")
        if not bool(np.all((label == 0) | (label == 1))):
            raise ValueError("found a label other than 0 and 1")
        if not bool(np.all((day >= 0) & (day <= MAX_DAY))):
            raise ValueError(f"found a day outside 0 to {MAX_DAY}")
        if len(cohort) != len(score):
            raise ValueError(f"found {len(cohort)} cohorts for {len(score)} scores; expected equal numbers")
        bins = bin_of(score)
        hit = np.where(label == 1, score, 1 - score)
        log_loss = -np.log(np.clip(hit, SCORE_FLOOR, 1.0))
        squared = (1 - hit) ** 2
        sums = {}
        for value in np.unique(day).tolist():
            on_day = day == value
            counts = np.bincount(label[on_day] * BINS + bins[on_day], minlength=2 * BINS)
            sums[value] = DaySums(
                counts.astype(np.int64).reshape(2, BINS),
                _by_label(label[on_day], log_loss[on_day]),
                _by_label(label[on_day], squared[on_day]),
                ranking=rank_cohorts(score[on_day], label[on_day], cohort[on_day]),
            )
        return cls(sums)

    def suppress(self, minimum: int = SMALLEST_COUNT, group: int = 3) -> ScoreSums:
        """What of these sums may leave a clinic.

        Parameters
        ----------
        minimum : int (default: `SMALLEST_COUNT`)
            A day on which a label has at least one but fewer embryos than this is withheld, and so are sums over
            fewer cohorts.
        group : int (default: 3)
            No bin of the result holds fewer embryos (of both labels together) than this.

        Notes
        -----
        Micro-aggregation of a single variable by groups of fixed size: Domingo-Ferrer and Mateo-Sanz, "Practical
        data-oriented microaggregation for statistical disclosure control", IEEE TKDE 14 (2002).
        """
        result = {}
        for day, sums in self.days.items():
            counts = sums.counts
            if bool(np.any((counts > 0) & (counts < minimum))):
                cohorts = sums.ranking.withheld + (sums.ranking.cohorts > 0)
                result[day] = DaySums(withheld=sums.withheld + 1, ranking=RankingSums(withheld=cohorts))
            else:
                result[day] = DaySums(
                    grouped(sums.histogram, group),
                    sums.log_loss,
                    sums.squared_error,
                    sums.withheld,
                    sums.ranking.suppress(minimum),
                )
        return ScoreSums(result)

    def pooled(self, day: int | None = None) -> DaySums:
        """Sums of one day, or of all days together.

        Metrics over all days mostly reflect the day: day 3 and day 5 differ in the share of label 1.
        """
        if day is not None:
            return self.days.get(day, DaySums())
        return sum(self.days.values(), DaySums())

    def summary(self, day: int | None = None, threshold: float = 0.5) -> Metrics:
        """Metrics of one day, or of all days together; see `Metrics`."""
        sums = self.pooled(day)
        negatives, positives = (int(count) for count in sums.counts)
        n = negatives + positives
        cut = nearest_edge(threshold)
        below = sums.histogram[:, :cut].sum(axis=1)
        auroc, auroc_se, auroc_blur = self._auroc(day)
        return Metrics(
            n=n,
            positives=positives,
            withheld=sums.withheld,
            loss=float(sums.log_loss.sum() / n) if n else None,
            auroc=auroc,
            auroc_se=auroc_se,
            auroc_blur=auroc_blur,
            auprc=from_histogram.average_precision(sums.histogram),
            brier=float(sums.squared_error.sum() / n) if n else None,
            ece=from_histogram.calibration_error(sums.histogram),
            threshold=float(EDGES[cut]),
            sensitivity=float(1 - below[1] / positives) if positives else None,
            specificity=float(below[0] / negatives) if negatives else None,
        )

    def _auroc(self, day: int | None) -> tuple[float | None, float | None, float | None]:
        """AUROC and standard error, corrected for the order within a day that groups hide; None if that is over half. The
        third is what that part of the order could change; the exact AUROC was within it in at least nine of ten draws."""
        sums = self.pooled(day)
        area, error = from_histogram.auroc(sums.histogram)
        if area is None or not sums.blur:
            return area, error, None if area is None else 0.0
        corrected, lost, pairs = area, 0.0, float(np.prod(sums.counts))
        for each in [sums] if day is not None else self.days.values():
            within, _ = from_histogram.auroc(each.histogram)
            if within is not None:
                part, blur = float(np.prod(each.counts)) / pairs, each.blur / int(each.counts.sum())
                lost += part * blur
                corrected += part * (within - 0.5) * blur / (1 - min(blur, MOST_BLUR))
        if lost > MOST_BLUR:
            return None, None, None
        return min(max(corrected, 0.0), 1.0), None if error is None else error / (1 - lost), lost / 2

    def roc(self, day: int | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Points of the ROC curve.

        Returns
        -------
        false_positive_rate, true_positive_rate, threshold : ndarray of float64, (BINS + 1,)
            From (0, 0) at threshold 1 to (1, 1) at threshold 0. Empty arrays where a label has no embryo.
        """
        sums = self.pooled(day)
        if not np.all(sums.counts > 0):
            return np.zeros(0), np.zeros(0), np.zeros(0)
        above = np.cumsum(sums.histogram[:, ::-1], axis=1) / sums.counts[:, None]
        rates = np.concatenate([np.zeros((2, 1)), above], axis=1)
        return rates[0], rates[1], EDGES[::-1].copy()

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON; `from_dict` reads it back."""
        return {
            "format": FORMAT,
            "bins": BINS,
            "days": {str(day): sums.to_dict() for day, sums in sorted(self.days.items())},
        }

    @classmethod
    def from_dict(cls, value: object) -> ScoreSums:
        """Read what `to_dict` wrote; safe on input from outside.

        Raises
        ------
        ValueError
            On anything but this form: unknown or missing keys, wrong sizes, counts that are not integers
            (``True`` and ``1.0`` included), numbers that are negative, not finite or larger than can be.
        """
        try:
            form = _Form.model_validate(value)
        except ValidationError as exc:
            raise ValueError(f"expected sums as ScoreSums.to_dict gives them; {explain(exc)}") from None
        return cls({int(day): entry.sums() for day, entry in form.days.items()})


def merge(parts: Iterable[ScoreSums]) -> ScoreSums:
    """Sums over the embryos of all parts; the order does not matter but for rounding in the last digit."""
    total: dict[int, DaySums] = {}
    for part in parts:
        for day, sums in part.days.items():
            total[day] = total[day] + sums if day in total else sums
    return ScoreSums(dict(sorted(total.items())))


def _by_label(labels: IntArray, values: FloatArray) -> FloatArray:
    """Sum of the values of each label, float64 (2,)."""
    return np.asarray(np.bincount(labels, weights=values, minlength=2), np.float64)
