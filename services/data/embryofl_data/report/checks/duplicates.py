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
    wrong, labelled = sum(map(len, opposite)), int((study.labels >= 0).sum())
    values = {"contents": len(repeated), "files": sum(map(len, repeated)), **_conflicts(study, repeated)}
    return make_finding(
        "exact-duplicates",
        Verdict.STOP if labelled and wrong >= CONTRADICTIONS_TO_STOP * labelled else Verdict.LOOK,
        _examples(study, [(members, f"{len(members)} files" if len(members) > 4 else "") for members in repeated]),
        pictures=True,
        values=values,
        **values,
    )


def _near(study: Study, pairs: Sequence[Pair]) -> Finding:
    contents = [study.infos[file].sha256 for file in study.files]
    pairs = [pair for pair in pairs if contents[pair.first] != contents[pair.second]]
    if not pairs:
        return make_finding("near-duplicates:none")
    named = [pair for pair in pairs if _named_together(study, pair.first, pair.second)]
    conflicts = _conflicts(study, [pair[:2] for pair in pairs])
    listed = [[study.files[pair.first], study.files[pair.second], round(pair.likeness, 3)] for pair in pairs]
    return make_finding(
        "near-duplicates",
        Verdict.LOOK if len(named) < len(pairs) or any(conflicts.values()) else Verdict.OK,
        _examples(study, [(pair[:2], f"similarity {pair.likeness:.2f}") for pair in pairs]),
        pictures=True,
        values={"pairs": listed, **conflicts},
        pairs=len(pairs),
        named=len(named),
        **conflicts,
    )


def _conflicts(study: Study, groups: Sequence[Sequence[int]]) -> dict[str, int]:
    """How many groups of duplicates have opposite labels, and how many belong to several patients."""
    return {
        "opposite_labels": sum(_opposite(study, members) for members in groups),
        "across_patients": sum(_across(study, members) for members in groups),
    }


def _examples(study: Study, groups: Sequence[tuple[Sequence[int], str]]) -> list[Example]:
    """Groups of duplicates with their notes, those that contradict each other first."""
    ordered = sorted(groups, key=lambda group: (not _opposite(study, group[0]), not _across(study, group[0])))
    return [
        Example(tuple(study.files[index] for index in members[:4]), (note + _marks(study, members)).removeprefix(", "))
        for members, note in ordered
    ]


def _named_together(study: Study, first: int, second: int) -> bool:
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
