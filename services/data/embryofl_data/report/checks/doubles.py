"""Files of one content, and different pictures of one embryo."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from embryofl_data.report.finding import Example, Finding, Verdict, plural
from embryofl_data.report.study import Study

EXAMPLES = 24
CONTRADICTIONS_TO_STOP = 0.05
"""Share of the labelled images: from here on the labels themselves are in doubt."""


def check(study: Study) -> Iterator[Finding]:
    """Exact duplicates, and near-duplicates where the images were looked at."""
    yield _exact(study)
    if study.measures:
        yield _near(study)


def contents(study: Study) -> list[list[int]]:
    """Indices of images by content (SHA-256), for contents that occur more than once, in the order of files."""
    found: dict[str, list[int]] = defaultdict(list)
    for index, file in enumerate(study.files):
        found[study.infos[file].sha256].append(index)
    return [members for members in found.values() if len(members) > 1]


def _exact(study: Study) -> Finding:
    repeated = contents(study)
    if not repeated:
        return Finding("exact-duplicates", "Copies", Verdict.OK, "No two files have the same content.")
    opposite = [members for members in repeated if _opposite(study, members)]
    across = [members for members in repeated if _across(study, members)]
    first = sorted(repeated, key=lambda members: (not _opposite(study, members), not _across(study, members)))
    files = sum(len(members) for members in repeated)
    labelled = int((study.labels >= 0).sum())
    wrong = sum(len(members) for members in opposite)
    return Finding(
        "exact-duplicates",
        "Copies: files of the same content",
        Verdict.STOP if labelled and wrong >= CONTRADICTIONS_TO_STOP * labelled else Verdict.LOOK,
        f"{files:,} files hold only {plural(len(repeated), 'different picture')}: {len(opposite)} of these with opposite "
        f"labels, {len(across)} under more than one patient.",
        "Every picture once. Copies stay on one side of the split, but count double; opposite labels cannot both be right.",
        "Remove copies; where labels contradict each other, find out which is right.",
        tuple(
            Example(tuple(study.files[index] for index in members[:4]), _note(study, members))
            for members in first[:EXAMPLES]
        ),
        len(repeated),
        pictures=True,
        values={
            "contents": len(repeated),
            "files": files,
            "opposite_labels": len(opposite),
            "across_patients": len(across),
        },
    )


def _near(study: Study) -> Finding:
    assert study.measures is not None
    pairs = [
        pair
        for pair in study.measures.pairs
        if study.infos[study.files[pair.first]].sha256 != study.infos[study.files[pair.second]].sha256
    ]
    if not pairs:
        return Finding(
            "near-duplicates", "One embryo, several pictures", Verdict.OK, "No two pictures show one embryo."
        )
    told = [pair for pair in pairs if _known_together(study, pair.first, pair.second)]
    opposite = {pair for pair in pairs if _opposite(study, (pair.first, pair.second))}
    across = {pair for pair in pairs if _across(study, (pair.first, pair.second))}
    first = sorted(pairs, key=lambda pair: (pair not in opposite, pair not in across, -pair.likeness))
    return Finding(
        "near-duplicates",
        "One embryo, several pictures",
        Verdict.LOOK if len(told) < len(pairs) or opposite or across else Verdict.OK,
        f"{plural(len(pairs), 'pair')} of pictures seem to show one embryo (turned, cropped or lit differently): "
        f"{len(told)} of them under one embryo or patient in the tables, {len(opposite)} with opposite labels, "
        f"{len(across)} under two patients.",
        "Pictures of one embryo carry one name in the column embryo or patient: then they stay on one side of the split.",
        "Look at the pairs below; give those that show one embryo one name, and decide on one label.",
        tuple(
            Example(
                (study.files[pair.first], study.files[pair.second]),
                f"likeness {pair.likeness:.2f}{_marks(study, (pair.first, pair.second))}",
            )
            for pair in first[:EXAMPLES]
        ),
        len(pairs),
        pictures=True,
        values={
            "pairs": [[study.files[pair.first], study.files[pair.second], round(pair.likeness, 3)] for pair in pairs],
            "opposite_labels": len(opposite),
            "across_patients": len(across),
        },
    )


def _known_together(study: Study, first: int, second: int) -> bool:
    one, other = study.images[first], study.images[second]
    return bool(one.patient and one.patient == other.patient) or bool(one.embryo and one.embryo == other.embryo)


def _opposite(study: Study, members: Iterable[int]) -> bool:
    return {0, 1} <= {int(study.labels[index]) for index in members}


def _across(study: Study, members: Iterable[int]) -> bool:
    """Whether images belong to more than one patient (else embryo); of unknown ones nothing is said."""
    return len({study.images[index].patient or study.images[index].embryo for index in members} - {""}) > 1


def _marks(study: Study, members: Iterable[int]) -> str:
    members = tuple(members)
    return (", opposite labels" if _opposite(study, members) else "") + (
        ", two patients" if _across(study, members) else ""
    )


def _note(study: Study, members: list[int]) -> str:
    more = f"{len(members)} files" if len(members) > 4 else ""
    return (more + _marks(study, members)).removeprefix(", ")
