"""Whether what was held out is really unseen: patients and copies on two sides, one patient under two names."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from embryofl_data.report.checks.doubles import contents
from embryofl_data.report.finding import Example, Finding, Verdict, plural
from embryofl_data.report.neighbours import Groups
from embryofl_data.report.study import Study

EXAMPLES = 12
SURE = 0.9
"""Likeness from which two files are copies of one picture and not only pictures of one embryo."""


def check(study: Study) -> Iterator[Finding]:
    """The folder's own split, training's split, and patients under two names."""
    if study.own_split:
        yield _own_split(study)
    if study.sides and study.measures:
        yield _training_split(study)
    yield from _two_names(study)


def _own_split(study: Study) -> Finding:
    """A split that the folder brings along: nobody may stand on two sides of it."""
    explicit = study.own_split_from.startswith("the column")
    sides: dict[str, dict[str, str]] = defaultdict(dict)  # unit to side to one of its files
    for image in study.images:
        side = study.own_split.get(image.file)
        if side and (image.patient or image.embryo):
            sides[image.group].setdefault(side, image.file)
    people = [(group, files) for group, files in sides.items() if len(files) > 1]
    copies = [
        Example(files, "the same file on two sides")
        for files in (tuple(study.files[index] for index in found) for found in contents(study))
        if len({study.own_split[file] for file in files if file in study.own_split}) > 1
    ]
    alike = []
    for group in Groups(study.measures.pairs).members() if study.measures else ():
        files = {study.own_split.get(file, ""): file for file in (study.files[index] for index in group)}
        files.pop("", None)
        if len(files) > 1 and len({study.infos[file].sha256 for file in files.values()}) > 1:
            alike.append(Example(tuple(files.values()), f"pictures of one embryo on {', '.join(files)}"))
    if not people and not copies and not alike:
        return Finding(
            "own-split",
            "The folder's own split",
            Verdict.OK,
            f"No patient stands on two sides of {study.own_split_from}.",
        )
    shown = [Example(tuple(files.values()), f"{group}: on {', '.join(files)}") for group, files in people]
    found = [
        text
        for count, text in (
            (len(people), f"{plural(len(people), 'patient')} with images on two sides"),
            (len(copies), f"{plural(len(copies), 'file')} with copies on two sides"),
            (len(alike), f"{plural(len(alike), 'embryo')} with pictures on two sides"),
        )
        if count
    ]
    return Finding(
        "own-split",
        "The folder's own split leaks",
        Verdict.STOP if explicit else Verdict.LOOK,
        f"In the split by {study.own_split_from}: {', '.join(found)}.",
        "Everything of one patient on one side, or held-out figures measure recognition of patients.",
        "Mend that split, or remove it (EmbryoFL splits by patient itself), and give pictures of one embryo one name in "
        "the column embryo.",
        tuple([*shown, *copies, *alike][:EXAMPLES]),
        len(people) + len(copies) + len(alike),
        pictures=True,
        values={"patients": len(people), "copies": len(copies), "alike": len(alike)},
    )


def _training_split(study: Study) -> Finding:
    """Near-duplicates that training's own split puts on two sides, because the tables name no common patient."""
    assert study.measures is not None
    across = []
    for group in Groups(study.measures.pairs).members():
        files = {study.side_of[index]: study.files[index] for index in group if index in study.side_of}
        if len(files) > 1:
            across.append(Example(tuple(files.values()), " and ".join(files)))
    if not across:
        return Finding(
            "split",
            "Split for training",
            Verdict.OK,
            "No pictures of one embryo stand on two sides of training's split.",
        )
    return Finding(
        "split",
        "Pictures of one embryo on two sides",
        Verdict.LOOK,
        f"{plural(len(across), 'embryo')} seem to have pictures on two sides of training's split.",
        "Pictures of one embryo, or one patient, stand on one side: then held-out figures are honest.",
        "Give them one name in the column embryo or patient of labels.csv.",
        tuple(across[:EXAMPLES]),
        len(across),
        pictures=True,
    )


def _two_names(study: Study) -> Iterator[Finding]:
    """Patients of whom two images, or all, are copies of another patient's: one patient under two names."""
    shared = _shared(study)
    sizes: Mapping[str, int] = _sizes(study)
    suspects = [
        (names, links) for names, links in shared.items() if len(links) >= min(2, sizes[names[0]], sizes[names[1]])
    ]
    if not suspects:
        return
    yield Finding(
        "two-names",
        "One patient under two names",
        Verdict.STOP,
        f"{plural(len(suspects), 'pair')} of patients share pictures: "
        + "; ".join(f"{first} and {second} ({len(links)})" for (first, second), links in suspects[:5])
        + ".",
        "A picture belongs to one patient. Otherwise one patient is trained on and held out at once.",
        "Give the patient one name in the column patient of labels.csv, or remove the copies.",
        tuple(Example(links[0], f"{names[0]} and {names[1]}") for names, links in suspects[:EXAMPLES]),
        len(suspects),
        pictures=True,
    )


def _sizes(study: Study) -> Mapping[str, int]:
    """Different pictures of each patient."""
    pictures: dict[str, set[str]] = defaultdict(set)
    for image in study.images:
        pictures[image.patient].add(study.infos[image.file].sha256)
    return {patient: len(found) for patient, found in pictures.items()}


def _shared(study: Study) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Two patients' names to the copies that they share: files of one content, or pictures that are nearly the same."""
    links: dict[tuple[str, str], dict[str, tuple[str, str]]] = defaultdict(dict)

    def add(first: int, second: int) -> None:
        names = sorted({study.images[first].patient, study.images[second].patient} - {""})
        if len(names) == 2:
            content = study.infos[study.files[first]].sha256
            links[names[0], names[1]].setdefault(content, (study.files[first], study.files[second]))

    for found in contents(study):
        for other in found[1:]:
            add(found[0], other)
    for pair in study.measures.pairs if study.measures else ():
        if pair.likeness >= SURE:
            add(pair.first, pair.second)
    return {names: list(found.values()) for names, found in links.items()}
