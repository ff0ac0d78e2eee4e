"""Whether there is enough of each class to learn and to judge."""

from collections.abc import Iterator

import numpy as np

from embryofl_data.report.finding import Finding, Verdict, plural
from embryofl_data.report.study import Study

FEW_TO_LEARN = 30
"""Images of a class in the whole folder: with fewer a network learns the patients rather than the class."""
FEW_TO_JUDGE = 20
"""With fewer of a class the 95 % interval of an AUROC is wider than 0.25 (Hanley and McNeil, Radiology 1982)."""


def check(study: Study) -> Iterator[Finding]:
    """Training possible at all, classes, classes within a day, unlabelled images."""
    if not study.facts.can_train:
        yield Finding("cannot-train", "Cannot train", Verdict.STOP, study.facts.reason)
    labels, days = study.labels, study.days
    counts = {label: int((labels == label).sum()) for label in (1, 0)}
    if min(counts.values()) < FEW_TO_LEARN:
        rare = min(counts, key=lambda label: counts[label])
        yield Finding(
            "rare-class",
            "A class is rare",
            Verdict.LOOK,
            f"Only {plural(counts[rare], 'image')} with the label {rare}, and {counts[1 - rare]:,} with {1 - rare}.",
            f"At least {FEW_TO_LEARN} of each are needed to learn a class rather than its patients.",
            "Add embryos of the rare class, or take part for the sake of the others' model only.",
            values={"label_1": counts[1], "label_0": counts[0]},
        )
    else:
        share = counts[1] / (counts[1] + counts[0])
        yield Finding(
            "classes",
            "Classes",
            Verdict.OK,
            f"{counts[1]:,} images with label 1 and {counts[0]:,} with label 0 ({share:.0%} positive).",
        )
    yield from _within_days(study)
    unlabelled = int((labels < 0).sum())
    if unlabelled > len(labels) / 2:
        yield Finding(
            "unlabelled",
            "Most images have no label",
            Verdict.LOOK,
            f"{unlabelled:,} of {len(labels):,} images are unlabelled and take no part in training.",
            "Expected a label for most.",
            "Fill in the column label where the verdict or outcome is known.",
        )
    if len(labels) and (days < 0).all():
        yield Finding(
            "no-day",
            "Day of development unknown",
            Verdict.LOOK,
            "No image has a day.",
            "Day-3 and day-5 embryos are judged by themselves: pooled figures mostly measure the day.",
            "Fill in the column day of labels.csv.",
        )


def _within_days(study: Study) -> Iterator[Finding]:
    labels, days = study.labels, study.days
    known = np.unique(days[(days >= 0) & (labels >= 0)])
    if len(known) < 2:
        return
    found = []
    for day in known:
        counts = {label: int(((days == day) & (labels == label)).sum()) for label in (1, 0)}
        rare = min(counts, key=lambda label: counts[label])
        if counts[rare] < FEW_TO_LEARN:
            found.append(f"day {day}: {counts[rare]} with label {rare} against {counts[1 - rare]}")
    if found:
        yield Finding(
            "rare-class-in-day",
            "A class is rare within a day",
            Verdict.LOOK,
            f"{'; '.join(found)}.",
            f"At least {FEW_TO_LEARN} of each class in each day; below {FEW_TO_JUDGE} no figure of that day means much.",
            "Do not draw conclusions about such a day by itself; add embryos of it.",
        )
