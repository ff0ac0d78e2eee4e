"""The data report: findings, each with a verdict and the files that show it, and the counts of the folder."""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from embryofl_data.report.facts import FolderFacts

FORMAT = 1
"""Of the JSON form."""


class Verdict(StrEnum):
    """What a finding asks of the clinic."""

    OK = "ok"  # nothing to do
    LOOK = "look"  # a person should review it, training may go on
    STOP = "stop"  # results would be worthless or training is impossible: correct it first

    @property
    def shown(self) -> str:
        """The word for a person."""
        return {"ok": "OK", "look": "Review", "stop": "Stop"}[self]


GRAVITY = tuple(Verdict)


@dataclass(frozen=True)
class Example:
    """One or more files that show a finding, side by side. `files` may name a patient: they stay local."""

    files: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes
    ----------
    id : str
        Fixed name, such as `near-duplicates`, for programs.
    title : str
        A heading of a few words.
    verdict : Verdict
        `ok`, `look` or `stop`.
    found, expected, advice : str
        A sentence or two each; "" where there is nothing to compare with, or nothing to do.
    shown : tuple of Example
        The first few examples, the most telling first.
    count : int
        How many there are in all (files, pairs or whatever `shown` lists).
    pictures : bool
        Whether thumbnails of `shown` help.
    values : dict
        Numbers behind the sentence, ready for JSON.
    """

    id: str
    title: str
    verdict: Verdict
    found: str
    expected: str = ""
    advice: str = ""
    shown: tuple[Example, ...] = ()
    count: int = 0
    pictures: bool = False
    values: dict[str, Any] = field(default_factory=dict)


@cache
def texts() -> dict[str, Any]:
    """The tables of `findings.toml`."""
    return tomllib.loads(resources.files(__package__).joinpath("findings.toml").read_text("utf-8"))


def make_finding(
    key: str,
    verdict: Verdict | None = None,
    shown: Sequence[Example] = (),
    *,
    most: int = 24,
    values: dict[str, Any] | None = None,
    pictures: bool = False,
    **words: object,
) -> Finding:
    """A finding with its texts from `findings.toml`.

    Parameters
    ----------
    key : str
        The finding's id, or `id:none` where nothing was found.
    verdict : Verdict, optional
        By default `look`, or `ok` for a key with a colon.
    shown : sequence of Example
        All examples; the finding keeps the first `most` of them and their number.
    words
        What the texts name in braces.
    """
    text = texts()[key]
    parts = {part: text.get(part, "").format(**{**text, **words}) for part in ("found", "expected", "advice")}
    identifier, colon, _ = key.partition(":")
    verdict = verdict or (Verdict.OK if colon else Verdict.LOOK)
    examples = tuple(shown[:most])
    return Finding(
        identifier,
        text["title"],
        verdict,
        **parts,
        shown=examples,
        count=len(shown),
        pictures=pictures,
        values=values or {},
    )


def some(items: Iterable[tuple[str, int]], most: int = 4) -> str:
    """`a (3), b (2) and 7 more`."""
    listed = [f"{item} ({count})" for item, count in items]
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")


@dataclass(frozen=True)
class DataReport:
    """What the data check finds in a folder.

    Attributes
    ----------
    findings : tuple of Finding
        The gravest first, otherwise in the order of the checks.
    pixels_looked_at : bool
        Whether the images themselves were measured; joining needs only counts and sizes.
    measured : int
        Files that had to be opened for this report; the others were measured for an earlier one.
    """

    facts: FolderFacts
    findings: tuple[Finding, ...] = ()
    pixels_looked_at: bool = True
    measured: int = 0
    seconds: float = field(default=0.0, compare=False)

    @property
    def verdict(self) -> Verdict:
        """The gravest one."""
        return max((finding.verdict for finding in self.findings), key=GRAVITY.index, default=Verdict.OK)

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
            "findings": [asdict(finding) for finding in self.findings],
        }
