"""Whether the pictures come from one kind of camera: size, pixel format, magnification, colour, contrast."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from embryofl.data_statistics import WORDS
from embryofl_data.report.checks.quality import robust_z
from embryofl_data.report.finding import Example, Finding, Verdict, plural, some
from embryofl_data.report.study import Study

EXAMPLES = 12
SMALL_SIDE = 128
"""Training scales to this: a smaller picture is enlarged and shows less than the others."""
OUTLIER = 5.0
"""Robust standard deviations."""
MEANINGS = {**{name: WORDS[name] for name in ("warmth", "tint", "contrast")}, "diameter": WORDS["extent"]}


def check(study: Study) -> Iterator[Finding]:
    """Sizes and formats; pictures unlike the rest."""
    yield _sizes(study)
    if study.measures and len(study.files) >= 30:
        yield _unlike(study)


def _sizes(study: Study) -> Finding:
    sizes, modes = study.facts.sizes, study.facts.modes
    listed = some([f"{size} ({count})" for size, count in sizes.items()], 5)
    small = [file for file in study.files if max(study.infos[file].width, study.infos[file].height) < SMALL_SIDE]
    ratios = Counter(round(study.infos[file].width / study.infos[file].height, 1) for file in study.files)
    found = f"Sizes: {listed or '-'}. Pixel formats: {some([f'{m} ({c})' for m, c in modes.items()]) or '-'}."
    mixed = len(ratios) > 1 and ratios.most_common(1)[0][1] < 0.9 * len(study.files)
    if not small and not mixed:
        return Finding("sizes", "Sizes and formats", Verdict.OK, found, values={"sizes": sizes, "modes": modes})
    return Finding(
        "sizes",
        "Mixed or small pictures",
        Verdict.LOOK,
        found + (f" {plural(len(small), 'image')} smaller than {SMALL_SIDE} pixels." if small else ""),
        f"One shape from one export, at least {SMALL_SIDE} pixels: size must not tell which camera or day it was.",
        "Export all pictures the same way where that is possible.",
        tuple(Example((file,), f"{study.infos[file].width}x{study.infos[file].height}") for file in small[:EXAMPLES]),
        len(small),
        values={"sizes": sizes, "modes": modes},
    )


def _unlike(study: Study) -> Finding:
    """Pictures whose colour, contrast or magnification is far from the rest."""
    assert study.measures is not None
    z = {name: robust_z(study.measures.columns[name]) for name in MEANINGS}
    table = np.stack([np.abs(column) for column in z.values()])  # (measures, n)
    furthest = table.max(axis=0)
    order = [index for index in np.argsort(-furthest, kind="stable") if furthest[index] > OUTLIER]
    if not order:
        return Finding(
            "optics", "Colour and magnification", Verdict.OK, "Colour, contrast and magnification are of one kind."
        )
    words: Counter[str] = Counter()
    shown = []
    for index in order:
        name = list(MEANINGS)[int(table[:, index].argmax())]
        word = MEANINGS[name][int(z[name][index] > 0)]
        words[word] += 1
        shown.append(Example((study.files[index],), f"{word} than the rest"))
    return Finding(
        "optics",
        "Pictures unlike the rest",
        Verdict.LOOK,
        f"{plural(len(order), 'image')} differ strongly: {some([f'{n} {word}' for word, n in words.most_common()], 8)}.",
        "Pictures of one kind: others may come from another camera, filter or export.",
        "Look at them. If they come from another microscope, note that and check the shortcuts below.",
        tuple(shown[:EXAMPLES]),
        len(order),
        pictures=True,
        values={"files": [study.files[index] for index in order]},
    )
