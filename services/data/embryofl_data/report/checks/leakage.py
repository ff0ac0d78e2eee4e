"""Whether test patients are really unseen: patients and duplicates in two splits, one patient under two names."""

from collections import defaultdict
from collections.abc import Iterator

from embryofl_data.report.checks.duplicates import contents
from embryofl_data.report.report import Example, Finding, Verdict, make_finding
from embryofl_data.report.study import Study
from embryofl_data.split import Groups

SURE = 0.9
"""Similarity from which two files are duplicates and not only images of one embryo."""


def check(study: Study) -> Iterator[Finding]:
    """The folder's own split, training's split, and patients under two names."""
    if study.own_split:
        yield _own_split(study)
    if study.splits and study.measures:
        yield _training_split(study)
    yield from _two_names(study)


def _embryos(study: Study) -> list[tuple[int, ...]]:
    """Images that show one embryo, by the near-duplicates."""
    pairs = study.measures.pairs if study.measures else ()
    return Groups((pair.first, pair.second) for pair in pairs).members()


def _own_split(study: Study) -> Finding:
    """A split that the folder comes with: no patient may be in two parts of it."""
    parts: dict[str, dict[str, str]] = defaultdict(dict)  # group to part to one of its files
    for image in study.images:
        part = study.own_split.get(image.file)
        if part and (image.patient or image.embryo):
            parts[image.group].setdefault(part, image.file)
    patients = [
        Example(tuple(files.values()), f"{group}: in {', '.join(files)}")
        for group, files in parts.items()
        if len(files) > 1
    ]
    repeated = [
        Example(files, "the same file in two parts")
        for files in (tuple(study.files[index] for index in same) for same in contents(study))
        if len({study.own_split[file] for file in files if file in study.own_split}) > 1
    ]
    alike = []
    for group in _embryos(study):
        by_part = {study.own_split.get(study.files[index], ""): study.files[index] for index in group}
        by_part.pop("", None)
        if len(by_part) > 1 and len({study.infos[file].sha256 for file in by_part.values()}) > 1:
            alike.append(Example(tuple(by_part.values()), f"images of one embryo in {', '.join(by_part)}"))
    counts = {"patients": len(patients), "copies": len(repeated), "alike": len(alike)}
    if not any(counts.values()):
        return make_finding("own-split:none", source=study.own_split_from)
    words = {"patients": "patients with images", "copies": "files with duplicates", "alike": "embryos with images"}
    return make_finding(
        "own-split",
        Verdict.STOP if study.own_split_from.startswith("the column") else Verdict.LOOK,
        [*patients, *repeated, *alike],
        most=12,
        pictures=True,
        values=counts,
        source=study.own_split_from,
        leaks=", ".join(f"{count} {words[kind]} in two parts" for kind, count in counts.items() if count),
    )


def _training_split(study: Study) -> Finding:
    """Near-duplicates that training's own split separates, because the tables name no common patient."""
    across = []
    for group in _embryos(study):
        files = {study.split_of[index]: study.files[index] for index in group if index in study.split_of}
        if len(files) > 1:
            across.append(Example(tuple(files.values()), " and ".join(files)))
    if not across:
        return make_finding("split:none")
    return make_finding("split", shown=across, most=12, pictures=True, embryos=len(across))


def _two_names(study: Study) -> Iterator[Finding]:
    """Patients who share two images, or all, with another: one patient under two names."""
    sizes: dict[str, set[str]] = defaultdict(set)  # patient to different contents
    for image in study.images:
        sizes[image.patient].add(study.infos[image.file].sha256)
    suspects = [
        (names, links)
        for names, links in _shared(study).items()
        if len(links) >= min(2, *(len(sizes[name]) for name in names))
    ]
    if suspects:
        yield make_finding(
            "two-names",
            Verdict.STOP,
            [Example(links[0], f"{first} and {second}") for (first, second), links in suspects],
            most=12,
            pictures=True,
            pairs=len(suspects),
            listed="; ".join(f"{first} and {second}: {len(links)}" for (first, second), links in suspects[:5]),
        )


def _shared(study: Study) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Two patients' names to the duplicates that they share: files of one content, or nearly the same image."""
    pairs = [(same[0], other) for same in contents(study) for other in same[1:]]
    near = study.measures.pairs if study.measures else ()
    pairs += [(pair.first, pair.second) for pair in near if pair.likeness >= SURE]
    links: dict[tuple[str, str], dict[str, tuple[str, str]]] = defaultdict(dict)
    for first, second in pairs:
        names = sorted({study.images[first].patient, study.images[second].patient} - {""})
        if len(names) == 2:
            content = study.infos[study.files[first]].sha256
            links[names[0], names[1]].setdefault(content, (study.files[first], study.files[second]))
    return {names: list(shared.values()) for names, shared in links.items()}
