"""STORK (Khosravi et al., npj Digital Medicine 2019): blastocysts with a Gardner grade in the file name.

`Images/train/{good,poor}/<embryo>_<rotation>_<grade>.jpg` and `Images/test/[{good,poor}_]<embryo>_<rotation>_<grade>.jpg`.
Rotations from -45 to 45 degrees repeat one image: only the one nearest to 0 is imported.
"""

import re
from collections import defaultdict

from embryofl_data.importers.plan import Importer, Options, Plan, PlannedImage, bare
from embryofl_data.importers.rules import GARDNER_RULES, Facts, parse_gardner
from embryofl_data.importers.source import Source

NAME = re.compile(r"(?:(good|poor)_)?(\d+)_(-?\d+)_([1-6][ABC]-?[ABC]-?)\.\w+", re.IGNORECASE)
VERDICTS = {"good": 1, "poor": 0}


def detect(source: Source) -> str:
    """Most images named by embryo, rotation and grade."""
    named = [file for file in source.images if NAME.fullmatch(bare(file))]
    return f"names such as {named[0]}" if len(named) > len(source.images) / 2 else ""


def fill(plan: Plan, source: Source, options: Options) -> None:
    """One image of each embryo, with its grade, and the verdict where name or folder states one."""
    rotations: dict[str, list[tuple[int, str, str]]] = defaultdict(list)  # embryo to rotation, file, grade
    for file in source.images:
        match = NAME.fullmatch(bare(file))
        if match is None:
            plan.skip(file, "not named EMBRYO_ROTATION_GRADE")
        else:
            rotations[match[2]].append((int(match[3]), file, match[4]))
    for embryo, same in sorted(rotations.items()):
        (_, file, _), *others = sorted(same, key=lambda rotated: (abs(rotated[0]), rotated))
        for degrees, rotated, _ in others:
            plan.skip(rotated, "rotated duplicate", f"of {file}, by {degrees} degrees")
        verdicts = {verdict for _, rotated, _ in same for verdict in _verdicts(rotated)}
        grades = {parse_gardner(grade) for _, _, grade in same}
        if len(grades) > 1 or len(verdicts) > 1:
            plan.skip(file, "its rotations state different grades or verdicts")
        else:
            verdict = next(iter(verdicts), "")
            stated_by = f"{verdict!r} in name or folder" if verdict else ""
            facts = Facts(*grades.pop(), stated=VERDICTS.get(verdict), stated_by=stated_by)
            plan.images.append(PlannedImage(file, facts, embryo=embryo, day="5"))
    plan.notes.append("STORK's images are of day 5 (110 hours)")


def _verdicts(file: str) -> set[str]:
    folder, _, name = file.lower().rpartition("/")
    return {bare(folder), name.split("_", 1)[0]} & VERDICTS.keys()


IMPORTER = Importer("stork", "STORK / npj Digital Medicine 2019", ("stated", *GARDNER_RULES, "none"), detect, fill)
