"""How far AUROC and AUPRC can be from those of the scores: what the hub publishes beside them."""

from collections.abc import Sequence

import numpy as np

from embryofl.metrics.order import DIGITS, precisions_range, unknown_half_pairs
from embryofl.metrics.sums import ScoreSums, merge


def order_blur(clinics: Sequence[ScoreSums], day: int | None = None) -> tuple[float, float]:
    """The most that AUROC and AUPRC of the clinics' embryos together can be off, of one day or of all days.

    0 for one clinic that has told the sums over its order (AUPRC: what rounding them costs). Between clinics it is the
    worst case, in which every group of embryos that a clinic counts in one bin lies as far on the wrong side of another
    clinic's as the bins allow; what is usual is a small part of it (docs/results.md).
    """
    histograms, known = [], 0
    complete = True
    for sums in clinics:
        days = sums.days.values() if day is None else [sums.days[day]] if day in sums.days else []
        told = [one for one in days if one.counts.sum()]
        histograms += [one.histogram for one in told]
        if told and (sums.together is not None if day is None and len(told) > 1 else told[0].order is not None):
            known += unknown_half_pairs([one.histogram for one in told])
        else:
            known += sum(unknown_half_pairs([one.histogram]) for one in told if one.order is not None)
            complete = complete and not told
    if not histograms or not np.all(np.sum(histograms, axis=(0, 2)) > 0):
        return 0.0, 0.0
    n0, n1 = np.sum(histograms, axis=(0, 2)).tolist()
    area = (unknown_half_pairs(histograms) - known) / (2 * n0 * n1)
    if complete and sum(bool(sums.pooled(day).counts.sum()) for sums in clinics) == 1:
        return area, 10**-DIGITS / 2 / n1
    low, high = precisions_range(histograms)
    now = merge(clinics).pooled(day).auprc() or 0.0
    return area, max(now - low / n1, high / n1 - now, 0.0)
