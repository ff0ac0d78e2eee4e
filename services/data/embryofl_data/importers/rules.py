"""Rules that make a label of what a source says: named, versioned, and never guessing.

No two sources agree on how to make two classes of Gardner grades (3AA is good in STORK and unknown elsewhere), so which
rule is used is an explicit choice, printed before it is used and recorded with every label that it gave.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from embryofl.errors import UserError

OUTCOMES = ("biochemical-pregnancy", "clinical-pregnancy", "live-birth")
GARDNER_RULES = ("gardner-3bb", "gardner-4bb", "gardner-3aa", "icm-te-b", "stork")
"""Names of the rules that feed on outcomes, and on Gardner grades."""

Decision = tuple[int | None, str]
"""A label (None: unlabelled) and the reason."""


@dataclass(frozen=True)
class Facts:
    """What a source says of one embryo.

    Attributes
    ----------
    expansion : int or None
        Gardner's expansion grade, 1 to 6.
    icm, te : str
        `A`, `B` or `C`; "" where not graded.
    stated : int or None
        A label that the source itself states, 1 or 0.
    stated_by : str
        In which words.
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
    version : int
        Raised when its meaning changes.
    text : str
        The whole rule in words.
    meaning : str
        What label 1 then means, as at enrolment: `quality`, `implantation` or `live_birth`.
    decide : callable
        Facts to label and reason.
    """

    name: str
    version: int
    text: str
    meaning: str
    decide: Callable[[Facts], Decision]

    @property
    def id(self) -> str:
        """Name and version, such as `gardner-3bb v1`."""
        return f"{self.name} v{self.version}"


def parse_gardner(written: str) -> tuple[int | None, str, str]:
    """Read a Gardner grade such as `3AB`, `4 a b` or STORK's `3A-B-` (the minus signs are dropped).

    Returns
    -------
    tuple
        Expansion or None, ICM, TE; (None, "", "") where it is no grade.
    """
    match = re.fullmatch(r"([1-6])\s*([ABCabc])-?\s*([ABCabc])-?", written.strip())
    return (int(match[1]), match[2].upper(), match[3].upper()) if match else (None, "", "")


def _stated(facts: Facts) -> Decision:
    if facts.stated is None:
        return None, facts.stated_by or "the source states no label"
    return facts.stated, f"stated by the source: {facts.stated_by}"


def _none(facts: Facts) -> Decision:
    return None, "no label was asked for"


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
    return (
        None,
        f"grade {written} is neither among the good ones nor among the poor ones" if facts.graded else "not graded",
    )


def _both_graded_b(facts: Facts) -> Decision:
    if not facts.icm or not facts.te:
        return None, "ICM or TE not graded"
    return int(facts.icm in "AB" and facts.te in "AB"), f"ICM {facts.icm}, TE {facts.te}"


def _outcome(name: str) -> Callable[[Facts], Decision]:
    def decide(facts: Facts) -> Decision:
        found = facts.outcomes.get(name)
        return (None, f"{name} unknown") if found is None else (found, f"{name}: {'yes' if found else 'no'}")

    return decide


def _gardner_rule(name: str, expansion: int, letters: str) -> Rule:
    named = " or ".join(letters)
    text = (
        f"1: expansion {expansion} or more, ICM and TE both {named}. 0: expansion below {expansion}, or ICM or TE worse. "
        "Unlabelled: expansion, or from that expansion on ICM or TE, not graded."
    )
    return Rule(name, 1, text, "quality", _at_least(expansion, letters))


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("stated", 1, "The label that the source states; unlabelled where it states none.", "quality", _stated),
        Rule("none", 1, "Every image is unlabelled.", "quality", _none),
        _gardner_rule("gardner-3bb", 3, "AB"),
        _gardner_rule("gardner-4bb", 4, "AB"),
        _gardner_rule("gardner-3aa", 3, "A"),
        Rule(
            "stork",
            1,
            "1: 3AA or 3AB. 0: 1BB or 2BB, minus signs left aside (Khosravi et al., npj Digital Medicine 2019). "
            "Unlabelled: every other grade.",
            "quality",
            _stork,
        ),
        Rule(
            "icm-te-b",
            1,
            "1: ICM and TE both A or B, whatever the expansion. 0: one of them C. Unlabelled: one of them not graded.",
            "quality",
            _both_graded_b,
        ),
        *(
            Rule(name, 1, f"1: {name.replace('-', ' ')}. 0: none. Unlabelled: not known.", meaning, _outcome(name))
            for name, meaning in (
                ("biochemical-pregnancy", "implantation"),
                ("clinical-pregnancy", "implantation"),
                ("live-birth", "live_birth"),
            )
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
        found = f"The rule {name} was asked for" if name else "No rule was named"
        raise UserError(
            f"{found}, and this source needs one of {', '.join(offered)} (labels are never guessed). Choose with "
            f"--rule:\n{listed}"
        )
    return RULES[name]
