"""File and folder names that look like a person's name or a date of birth."""

import contextlib
import itertools
import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from importlib import resources

_SEPARATORS = re.compile(r"[^\w]|_|(?<=[a-zà-ÿ])(?=[A-Z])|(?<=\d)(?=[^\W\d])|(?<=[^\W\d])(?=\d)")
_DATES = (
    (re.compile(r"(?<!\d)(\d{4})[-_. ]?(\d{2})[-_. ]?(\d{2})(?!\d)"), ("%Y %m %d",)),
    (re.compile(r"(?<!\d)(\d{1,2})[-_. ](\d{1,2})[-_. ](\d{4})(?!\d)"), ("%d %m %Y", "%m %d %Y")),
    (re.compile(r"(?<!\d)(\d{2})(\d{2})(\d{4})(?!\d)"), ("%d %m %Y", "%m %d %Y")),
)
_BIRTH_YEARS = range(1940, 2011)
"""Years in which a patient of a fertility clinic may have been born."""
_PERSON_MARKS = re.compile(r"(?i)(?<![a-z])(mrs|mr|ms|dr|frau|herr|mme|sra|dob|born|mrn|ssn|nhs)(?![a-z])")


def looks_like(name: str) -> str:
    """What a path or identifier looks like: `a date of birth`, `a person's name`, or "".

    Two neighbouring words of at least three letters that both begin with a capital, in one part of the path, count as a
    person's name if neither is a word of the field; so does a title such as `Mrs` or a mark such as `DOB`.
    """
    for part in name.rsplit(".", 1)[0].split("/"):
        if any(year in _BIRTH_YEARS for year in _years(part)):
            return "a date of birth"
        if _PERSON_MARKS.search(part.replace("_", " ")) or _has_two_names(part):
            return "a person's name"
    return ""


def _years(part: str) -> Iterator[int]:
    """The years of all dates in a name."""
    for pattern, orders in _DATES:
        for match, order in itertools.product(pattern.finditer(part), orders):
            with contextlib.suppress(ValueError):
                yield datetime.strptime(" ".join(match.groups()), order).year


def _has_two_names(part: str) -> bool:
    words = [word for word in _SEPARATORS.split(part) if word]
    return any(
        _may_be_name(first) and _may_be_name(second) and first.isupper() == second.isupper()
        for first, second in zip(words, words[1:], strict=False)
    )


def _may_be_name(word: str) -> bool:
    """A capitalised word that is not of the field; in scripts without capitals any word of two letters or more."""
    lower = word.lower()
    if not word.isalpha() or lower in _field_words() or lower.removesuffix("s") in _field_words():
        return False
    if lower == word.upper():  # a script without capitals, such as Chinese or Arabic
        return len(word) >= 2
    return len(word) >= (4 if word.isupper() else 3) and word[0].isupper() and (word.isupper() or word[1:].islower())


@cache
def _field_words() -> frozenset[str]:
    """Words of the field and of file handling, which are nobody's name."""
    return frozenset(resources.files(__package__).joinpath("field_words.txt").read_text("utf-8").split())
