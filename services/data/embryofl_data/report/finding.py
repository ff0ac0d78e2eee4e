"""The one shape of everything the report says: a finding with a verdict, and the files that show it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a finding asks of the clinic."""

    OK = "ok"  # nothing to do
    LOOK = "look"  # a person should look, training may go on
    STOP = "stop"  # results would be worthless or nothing can be trained: put it right first


ORDER = {Verdict.OK: 0, Verdict.LOOK: 1, Verdict.STOP: 2}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest of some verdicts, `ok` of none."""
    return max(verdicts, key=ORDER.__getitem__, default=Verdict.OK)


@dataclass(frozen=True)
class Example:
    """One or more files that show a finding, side by side.

    Attributes
    ----------
    files : tuple of str
        Relative to the data folder. May name a patient: it stays local.
    note : str
        What was seen there.
    """

    files: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    id : str
        Fixed name, such as `near-duplicates`, for programs.
    title : str
        A heading of a few words.
    verdict : Verdict
        `ok`, `look` or `stop`.
    found, expected : str
        What was found and what was expected, a sentence each; `expected` is "" where there is nothing to compare with.
    advice : str
        What to do, "" where nothing is to be done.
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

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def some(items: Sequence[str], most: int = 4) -> str:
    """`a, b, c and 7 more`."""
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`, `10,000 images`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
