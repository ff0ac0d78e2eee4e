"""Micro-aggregation of a histogram, so that no bin describes one embryo (see `sums`)."""

import numpy as np

from embryofl.metrics.bins import IntArray


def grouped(histogram: IntArray, group: int) -> IntArray:
    """Count neighbouring scores together so that no bin holds fewer than `group`; (2, BINS) to (2, BINS).

    Bins are added to a group in ascending order until it is full; what remains at the end joins the last group. A group
    is counted in the bin of its median score, which lies between its lowest and its highest.
    """
    filled = np.flatnonzero(histogram.sum(axis=0))
    groups: list[list[int]] = [[]]
    size = 0
    for index in filled.tolist():
        if size >= group:
            groups.append([])
            size = 0
        groups[-1].append(index)
        size += int(histogram[:, index].sum())
    if size < group and len(groups) > 1:
        groups[-2].extend(groups.pop())
    result = np.zeros_like(histogram)
    for members in groups:
        if members:
            running = np.cumsum(histogram[:, members].sum(axis=0))
            middle = members[int(np.searchsorted(running, (running[-1] + 1) // 2))]
            result[:, middle] += histogram[:, members].sum(axis=1)
    return result


def blur(groups: IntArray) -> int:
    """What grouping has cost of the order of one clinic's scores, in embryos: 0 if no two are in one bin, all if all are.

    Of the variance of the ranks of n scores, a group of m of them hides (m / n)^3, and a metric that grows with the rank,
    such as AUROC - 1/2, loses the same part if the chance of label 1 is linear in the rank.

    Parameters
    ----------
    groups : ndarray of int64, (2, BINS)
        As `grouped` returns it.
    """
    sizes = groups.sum(axis=0).astype(np.float64)
    return round(float((sizes**3).sum() / max(sizes.sum(), 1.0) ** 2))
