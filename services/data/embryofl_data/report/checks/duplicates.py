"""Duplicates: files with the same content, and different images of one embryo."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from embryofl_data.report.neighbours import Pair
from embryofl_data.report.report import Example, Finding, Verdict, make_finding
from embryofl_data.report.study import Study

CONTRADICTIONS_TO_STOP = 0.05
"""Share of the labelled images from which on the labels themselves are in doubt."""


def check(study: Study) -> Iterator[Finding]:
    """Exact duplicates, and near-duplicates where the images were measured."""
    yield _exact(study)
    if study.measures:
        yield _near(study, study.measures.pairs)


def contents(study: Study) -> list[list[int]]:
    """Indices of images by content (SHA-256), for contents that occur more than once, in the order of files."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, file in enumerate(study.files):
        members[study.infos[file].sha256].append(index)
    return [same for same in members.values() if len(same) > 1]


def _exact(study: Study) -> Finding:
    repeated = contents(study)
    if not repeated:
        return make_finding("exact-duplicates:none")
    opposite = [members for members in repeated if _opposite(study, members)]
    across = [members for members in repeated if _across(study, members)]
    wrong, labelled = sum(map(len, opposite)), int((study.labels >= 0).sum())
    values = {
        "contents": len(repeated),
        "files": sum(map(len, repeated)),
        "opposite_labels": len(opposite),
        "across_patients": len(across),
    }
    return make_finding(
        "exact-duplicates",
        Verdict.STOP if labelled and wrong >= CONTRADICTIONS_TO_STOP * labelled else Verdict.LOOK,
        [
            Example(
                tuple(study.files[index] for index in members[:4]),
                ((f"{len(members)} files" if len(members) > 4 else "") + _marks(study, members)).removeprefix(", "),
            )
            for members in sorted(repeated, key=lambda same: (not _opposite(study, same), not _across(study, same)))
        ],
        pictures=True,
        values=values,
        files=values["files"],
        contents=len(repeated),
        opposite=len(opposite),
        across=len(across),
    )


def _near(study: Study, pairs: Sequence[Pair]) -> Finding:
    contents = [study.infos[file].sha256 for file in study.files]
    pairs = [pair for pair in pairs if contents[pair.first] != contents[pair.second]]
    if not pairs:
        return make_finding("near-duplicates:none")
    known = [pair for pair in pairs if _known_together(study, pair.first, pair.second)]
    opposite = {pair for pair in pairs if _opposite(study, (pair.first, pair.second))}
    across = {pair for pair in pairs if _across(study, (pair.first, pair.second))}
    return make_finding(
        "near-duplicates",
        Verdict.LOOK if len(known) < len(pairs) or opposite or across else Verdict.OK,
        [
            Example(
                (study.files[pair.first], study.files[pair.second]),
                f"similarity {pair.likeness:.2f}{_marks(study, (pair.first, pair.second))}",
            )
            for pair in sorted(pairs, key=lambda pair: (pair not in opposite, pair not in across, -pair.likeness))
        ],
        pictures=True,
        values={
            "pairs": [[study.files[pair.first], study.files[pair.second], round(pair.likeness, 3)] for pair in pairs],
            "opposite_labels": len(opposite),
            "across_patients": len(across),
        },
        pairs=len(pairs),
        known=len(known),
        opposite=len(opposite),
        across=len(across),
    )


def _known_together(study: Study, first: int, second: int) -> bool:
    one, other = study.images[first], study.images[second]
    return bool(one.patient and one.patient == other.patient) or bool(one.embryo and one.embryo == other.embryo)


def _opposite(study: Study, members: Sequence[int]) -> bool:
    return {0, 1} <= {int(study.labels[index]) for index in members}


def _across(study: Study, members: Sequence[int]) -> bool:
    """Whether images belong to more than one patient (else embryo); unknown ones do not count."""
    return len({study.images[index].patient or study.images[index].embryo for index in members} - {""}) > 1


def _marks(study: Study, members: Sequence[int]) -> str:
    opposite = ", opposite labels" if _opposite(study, members) else ""
    return opposite + (", two patients" if _across(study, members) else "")
