"""Whether there is enough of each class to learn from and to evaluate on."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from embryofl_data.report.report import Finding, Verdict, make_finding
from embryofl_data.report.study import Study

FEW_TO_LEARN = 30
"""Images of a class in the whole folder: with fewer a network learns the patients rather than the class."""
FEW_TO_JUDGE = 20
"""With fewer of a class the 95 % interval of an AUROC is wider than 0.25 (Hanley and McNeil, Radiology 1982)."""


def check(study: Study) -> Iterator[Finding]:
    """Whether training is possible at all, classes, classes within a day, unlabelled images."""
    if not study.facts.can_train:
        yield make_finding("cannot-train", Verdict.STOP, reason=study.facts.reason)
    labels, days = study.labels, study.days
    negative, positive = _counts(labels)
    if min(negative, positive) < FEW_TO_LEARN:
        values = {"label_1": positive, "label_0": negative}
        yield make_finding("rare-class", values=values, least=FEW_TO_LEARN, **_rare(negative, positive))
    else:
        share = positive / (positive + negative)
        yield make_finding("classes:none", positive=positive, negative=negative, share=share)
    yield from _within_days(labels, days)
    unlabelled = int((labels < 0).sum())
    if unlabelled > len(labels) / 2:
        yield make_finding("unlabelled", unlabelled=unlabelled, images=len(labels))
    if len(labels) and (days < 0).all():
        yield make_finding("no-day")


def _counts(labels: npt.NDArray[np.int64]) -> tuple[int, int]:
    return int((labels == 0).sum()), int((labels == 1).sum())


def _rare(negative: int, positive: int) -> dict[str, Any]:
    rare = int(positive <= negative)
    return {"rare": rare, "common": 1 - rare, "few": min(negative, positive), "many": max(negative, positive)}


def _within_days(labels: npt.NDArray[np.int64], days: npt.NDArray[np.int64]) -> Iterator[Finding]:
    dated = np.unique(days[(days >= 0) & (labels >= 0)])
    counts = {day: _rare(*_counts(labels[days == day])) for day in dated}
    listed = [
        "day {}: {few} with label {rare}, {many} with label {common}".format(day, **rare)
        for day, rare in counts.items()
        if rare["few"] < FEW_TO_LEARN
    ]
    if listed and len(dated) > 1:
        yield make_finding("rare-class-in-day", days="; ".join(listed), least=FEW_TO_LEARN, fewest=FEW_TO_JUDGE)
