"""File and folder names that look like a person's name or a date of birth."""

import re
from datetime import date

_SEPARATORS = re.compile(r"[^\w]|_|(?<=[a-zà-ÿ])(?=[A-Z])|(?<=\d)(?=[^\W\d])|(?<=[^\W\d])(?=\d)")
_FIELD_WORDS = frozenset(
    """
    aa ab ac ba bb bc ca cb cc annotation annotated archive avi base batch bin blast blastocyst blastomere bmp bright
    brightfield camera cell cells center centre channel class cleavage clinic cohort copy count crop cropped culture cycle
    data dataset day depth dish donor eb eight embryo embryos embryoscope empty et evaluation example excellent expanded
    expansion export fail fair fertilization field final five focal focus fold folder four frame fresh frozen full gardner
    geri gold good grade graded gray grey group hatched hatching high holdout hour hours icm icsi image images img index
    input instrument inner iui ivf jpeg jpg label labeled labelled large last left lens live low main mask mass medium
    microscope mid miri morula negative new nonviable normal not number oocyte oocytes one original other outcome oocyte
    part patient patients phase photo pic picture plane png pn pgt pgta poor positive pregnant pronuclear pronuclei
    processed pt quality random raw record removed report result right rotated rotation round run sample sb scan score
    series set shot silver six slide small snapshot split stack stage start study subject tb te test three tif tiff
    time timelapse tm tmp top total train training transfer treatment trophectoderm two unknown unlabeled unlabelled
    untitled upload val valid validation vertical viable video vitrified warm week well work zona zygote zygotes
    january february march april may june july august september october november december jan feb mar apr jun jul aug sep
    oct nov dec
    """.split()
)
"""Words of the field and of file handling, which name nobody."""
_DATES = (
    (re.compile(r"(?<!\d)(\d{4})[-_. ]?(\d{2})[-_. ]?(\d{2})(?!\d)"), "ymd"),
    (re.compile(r"(?<!\d)(\d{1,2})[-_. ](\d{1,2})[-_. ](\d{4})(?!\d)"), "dmy"),
    (re.compile(r"(?<!\d)(\d{2})(\d{2})(\d{4})(?!\d)"), "dmy"),
)
_BIRTH_YEARS = range(1940, 2011)
"""Years in which a patient of a fertility clinic may have been born."""
_PERSON_MARKS = re.compile(r"(?i)(?<![a-z])(mrs|mr|ms|dr|frau|herr|mme|sra|dob|born|mrn|ssn|nhs)(?![a-z])")


def looks_like(name: str) -> str:
    """What a path looks like: `a date of birth`, `a person's name`, or "".

    Parameters
    ----------
    name : str
        POSIX path relative to the data folder, or an identifier from a table.

    Notes
    -----
    A person's name is taken to be two neighbouring words of at least three letters that both begin with a capital, in
    one part of the path, neither being a word of the field; or a title such as `Mrs` or a mark such as `DOB`.
    """
    for part in name.rsplit(".", 1)[0].split("/"):
        if _has_birth_date(part):
            return "a date of birth"
        if _PERSON_MARKS.search(part.replace("_", " ")) or _has_two_names(part):
            return "a person's name"
    return ""


def _has_birth_date(part: str) -> bool:
    for pattern, order in _DATES:
        for match in pattern.finditer(part):
            numbers = [int(group) for group in match.groups()]
            year, month, day = numbers if order == "ymd" else numbers[::-1]
            if year in _BIRTH_YEARS and (_is_date(year, month, day) or (order == "dmy" and _is_date(year, day, month))):
                return True
    return False


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _has_two_names(part: str) -> bool:
    words = [word for word in _SEPARATORS.split(part) if word]
    return any(
        _may_be_name(first) and _may_be_name(second) and first.isupper() == second.isupper()
        for first, second in zip(words, words[1:], strict=False)
    )


def _may_be_name(word: str) -> bool:
    """A capitalised word that is none of the field; in scripts without capitals any word of two letters or more."""
    if not word.isalpha() or word.lower() in _FIELD_WORDS or word.lower().rstrip("s") in _FIELD_WORDS:
        return False
    if word.lower() == word.upper():  # a script without capitals, such as Chinese or Arabic
        return len(word) >= 2
    return len(word) >= (4 if word.isupper() else 3) and word[0].isupper() and (word.isupper() or word[1:].islower())
