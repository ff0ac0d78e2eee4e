"""What is looked for: one module for each kind of finding, all of one shape, `check(study)` yields findings."""

from collections.abc import Callable, Iterator

from embryofl_data.report.checks import classes, doubles, drift, leakage, optics, privacy, problems, quality, shortcuts
from embryofl_data.report.finding import Finding
from embryofl_data.report.study import Study

CHECKS: tuple[Callable[[Study], Iterator[Finding]], ...] = (
    classes.check,
    leakage.check,
    problems.check,
    doubles.check,
    shortcuts.check,
    privacy.check,
    quality.check,
    optics.check,
    drift.check,
)
