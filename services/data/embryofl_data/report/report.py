"""The whole report: counts and findings, and the verdict over all of them."""

from dataclasses import dataclass, field
from typing import Any

from embryofl_data.report.facts import FolderFacts
from embryofl_data.report.finding import ORDER, Finding, Verdict, worst

FORMAT = 1
"""Of the JSON form."""


@dataclass(frozen=True)
class DataReport:
    """What a data folder is worth.

    Attributes
    ----------
    facts : FolderFacts
        Counts.
    findings : tuple of Finding
        The gravest first, else in the order in which they were looked for.
    pixels_looked_at : bool
        Whether the images themselves were looked at; joining only needs what reading and decoding tell.
    measured : int
        Files that had to be opened for this report; the others were known from an earlier one.
    """

    facts: FolderFacts
    findings: tuple[Finding, ...] = ()
    pixels_looked_at: bool = True
    measured: int = 0
    seconds: float = field(default=0.0, compare=False)

    @property
    def verdict(self) -> Verdict:
        """The gravest one."""
        return worst(finding.verdict for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 when training may go on, else 1."""
        return 1 if self.verdict is Verdict.STOP or not self.facts.can_train else 0

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON. Names files: not for sending."""
        return {
            "format": FORMAT,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "pixels_looked_at": self.pixels_looked_at,
            "measured": self.measured,
            "seconds": round(self.seconds, 2),
            **self.facts.to_dict(),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def by_gravity(findings: list[Finding]) -> tuple[Finding, ...]:
    """The gravest first; the order within a verdict is kept."""
    return tuple(sorted(findings, key=lambda finding: -ORDER[finding.verdict]))
