"""The rules of `rules.toml`, which turn what a source says into a label: named, versioned, and never guessing.

No two sources agree on how to turn Gardner grades into two classes (3AA is good in STORK and unknown elsewhere), so the
rule is an explicit choice, printed before it is used and recorded with every label that it gave.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import resources

from embryofl.errors import UserError

Decision = tuple[int | None, str]
"""A label (None: unlabelled) and the reason."""


@dataclass(frozen=True)
class Facts:
    """What a source says about one embryo.

    Attributes
    ----------
    expansion : int or None
        Gardner's expansion grade, 1 to 6.
    icm, te : str
        `A`, `B` or `C`; "" where not graded.
    stated : int or None
        A label that the source itself states, 1 or 0.
    stated_by : str
        Where and how.
    outcomes : mapping of str to int or None
        Outcome to 1, 0 or None: `biochemical-pregnancy`, `clinical-pregnancy`, `live-birth`.
    """

    expansion: int | None = None
    icm: str = ""
    te: str = ""
    stated: int | None = None
    stated_by: str = ""
    outcomes: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def grade(self) -> str:
        """As it is written, such as `3AB`; "-" for what is not graded."""
        return f"{'-' if self.expansion is None else self.expansion}{self.icm or '-'}{self.te or '-'}"


@dataclass(frozen=True)
class Rule:
    """A rule: `decide` takes facts to label and reason; the other fields are explained in `rules.toml`."""

    name: str
    text: str
    decide: Callable[[Facts], Decision]
    meaning: str
    version: int

    @property
    def id(self) -> str:
        """Name and version, such as `gardner-3bb v1`."""
        return f"{self.name} v{self.version}"


def parse_gardner(written: str) -> tuple[int | None, str, str]:
    """Expansion, ICM and TE of a grade such as `3AB`, `4 a b` or STORK's `3A-B-` (the minus signs are dropped).

    (None, "", "") where it is not a grade.
    """
    match = re.fullmatch(r"([1-6])\s*([ABCabc])-?\s*([ABCabc])-?", written.strip())
    return (int(match[1]), match[2].upper(), match[3].upper()) if match else (None, "", "")


def _stated(facts: Facts) -> Decision:
    if facts.stated is None:
        return None, facts.stated_by or "the source states no label"
    return facts.stated, f"stated by the source: {facts.stated_by}"


def _at_least(facts: Facts, expansion: int, letters: str) -> Decision:
    """At least this expansion, with ICM and TE both among `letters`; whatever the expansion for 0."""
    if expansion and facts.expansion is None:
        return None, "no expansion grade"
    if (facts.expansion or 0) < expansion:
        return 0, f"grade {facts.grade}: expansion below {expansion}"
    if not facts.icm or not facts.te:
        return None, f"grade {facts.grade}: ICM or TE not graded"
    return int(facts.icm in letters and facts.te in letters), f"grade {facts.grade}"


def _listed(facts: Facts, grades: Mapping[str, int]) -> Decision:
    label = grades.get(facts.grade)
    return label, f"grade {facts.grade}" + (
        " is neither one of the good nor of the poor grades" if label is None else ""
    )


def _outcome(facts: Facts, outcome: str) -> Decision:
    value = facts.outcomes.get(outcome)
    return value, f"{outcome}: {'unknown' if value is None else ('no', 'yes')[value]}"


_DECIDE: dict[str, Callable[..., Decision]] = {
    "stated": _stated,
    "none": lambda facts: (None, "no label was requested"),
    "at_least": _at_least,
    "listed": _listed,
    "outcome": _outcome,
}


def _rule(name: str, text: str, decide: str, meaning: str = "quality", version: int = 1, **arguments: object) -> Rule:
    return Rule(name, text, partial(_DECIDE[decide], **arguments), meaning, version)


_ROWS = tomllib.loads(resources.files(__package__).joinpath("rules.toml").read_text("utf-8"))
RULES = {name: _rule(name, **row) for name, row in _ROWS.items()}
GARDNER_RULES = tuple(name for name, row in _ROWS.items() if row["decide"] in ("at_least", "listed"))
OUTCOMES = tuple(name for name, row in _ROWS.items() if row["decide"] == "outcome")


def find_rule(name: str, offered: tuple[str, ...]) -> Rule:
    """A rule by name, one of those that an importer offers.

    Raises
    ------
    UserError
        When it is not one of them.
    """
    if name not in offered:
        listed = "\n".join(f"  {other}: {RULES[other].text}" for other in offered)
        given = f"The rule {name} was requested" if name else "No rule was named"
        raise UserError(
            "D2",
            f"{given}. Expected one of {', '.join(offered)} for this source, as labels are never guessed. Choose with "
            f"--rule:\n{listed}",
        )
    return RULES[name]
