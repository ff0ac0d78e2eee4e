"""Rules that turn what a source says into a label: named, versioned, and never guessing.

No two sources agree on how to turn Gardner grades into two classes (3AA is good in STORK and unknown elsewhere), so the
rule is an explicit choice, printed before it is used and recorded with every label that it gave.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from embryofl.errors import UserError

OUTCOMES = ("biochemical-pregnancy", "clinical-pregnancy", "live-birth")
GARDNER_RULES = ("gardner-3bb", "gardner-4bb", "gardner-3aa", "icm-te-b", "stork")
"""Names of the rules that use outcomes, and Gardner grades."""

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
    def graded(self) -> bool:
        """Whether anything is graded."""
        return self.expansion is not None or bool(self.icm or self.te)

    @property
    def grade(self) -> str:
        """As it is written, such as `3AB`; "-" for what is not graded."""
        return f"{'-' if self.expansion is None else self.expansion}{self.icm or '-'}{self.te or '-'}"


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes
    ----------
    name : str
        As on the command line.
    text : str
        The whole rule for a person.
    decide : callable
        Facts to label and reason.
    meaning : str
        What label 1 then means, as at enrolment: `quality`, `implantation` or `live_birth`.
    version : int
        Raised when its meaning changes.
    """

    name: str
    text: str
    decide: Callable[[Facts], Decision]
    meaning: str = "quality"
    version: int = 1

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


def _none(facts: Facts) -> Decision:
    return None, "no label was requested"


def _at_least(expansion: int, letters: str) -> Callable[[Facts], Decision]:
    """At least this expansion, with ICM and TE both among `letters`."""

    def decide(facts: Facts) -> Decision:
        if facts.expansion is None:
            return None, "no expansion grade"
        if facts.expansion < expansion:
            return 0, f"grade {facts.grade}: expansion below {expansion}"
        if not facts.icm or not facts.te:
            return None, f"grade {facts.grade}: ICM or TE not graded"
        good = facts.icm in letters and facts.te in letters
        return int(good), f"grade {facts.grade}"

    return decide


def _stork(facts: Facts) -> Decision:
    written = facts.grade
    if written in ("3AA", "3AB"):
        return 1, f"grade {written}"
    if written in ("1BB", "2BB"):
        return 0, f"grade {written}"
    return None, f"grade {written} is neither one of the good nor of the poor grades" if facts.graded else "not graded"


def _both_graded_b(facts: Facts) -> Decision:
    if not facts.icm or not facts.te:
        return None, "ICM or TE not graded"
    return int(facts.icm in "AB" and facts.te in "AB"), f"ICM {facts.icm}, TE {facts.te}"


def _outcome(name: str) -> Callable[[Facts], Decision]:
    def decide(facts: Facts) -> Decision:
        outcome = facts.outcomes.get(name)
        return (None, f"{name} unknown") if outcome is None else (outcome, f"{name}: {'yes' if outcome else 'no'}")

    return decide


def _gardner_rule(name: str, expansion: int, letters: str) -> Rule:
    named = " or ".join(letters)
    text = (
        f"1: expansion {expansion} or more, ICM and TE both {named}. 0: expansion below {expansion}, or ICM or TE worse. "
        "Unlabelled: expansion, or from that expansion on ICM or TE, not graded."
    )
    return Rule(name, text, _at_least(expansion, letters))


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("stated", "The label that the source states; unlabelled where it states none.", _stated),
        Rule("none", "Every image is unlabelled.", _none),
        _gardner_rule("gardner-3bb", 3, "AB"),
        _gardner_rule("gardner-4bb", 4, "AB"),
        _gardner_rule("gardner-3aa", 3, "A"),
        Rule(
            "stork",
            "1: 3AA or 3AB. 0: 1BB or 2BB, ignoring minus signs (Khosravi et al., npj Digital Medicine 2019). Unlabelled: "
            "every other grade.",
            _stork,
        ),
        Rule(
            "icm-te-b",
            "1: ICM and TE both A or B, whatever the expansion. 0: one of them C. Unlabelled: one of them not graded.",
            _both_graded_b,
        ),
        *(
            Rule(name, f"1: {name.replace('-', ' ')}. 0: none. Unlabelled: not known.", _outcome(name), meaning)
            for name, meaning in zip(OUTCOMES, ("implantation", "implantation", "live_birth"), strict=True)
        ),
    )
}


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
            f"{given}. Expected one of {', '.join(offered)} for this source, as labels are never guessed. Choose with "
            f"--rule:\n{listed}"
        )
    return RULES[name]
