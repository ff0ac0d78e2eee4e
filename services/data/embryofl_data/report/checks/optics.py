"""Whether the images come from one kind of camera: size, pixel format, magnification, colour, contrast."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from embryofl.data_statistics import WORDS
from embryofl_data.report.checks.quality import robust_z
from embryofl_data.report.report import Example, Finding, make_finding, some
from embryofl_data.report.study import FloatArray, Study

SMALL_SIDE = 128
"""Training scales to this: a smaller image is enlarged and shows less than the others."""
OUTLIER = 5.0
"""Robust standard deviations."""
MEANINGS = {
    "warmth": WORDS["warmth"],
    "tint": WORDS["tint"],
    "contrast": WORDS["contrast"],
    "diameter": WORDS["extent"],
}


def check(study: Study) -> Iterator[Finding]:
    """Sizes and formats; images unlike the rest."""
    yield _sizes(study)
    if study.measures and len(study.files) >= 30:
        yield _unlike(study, study.measures.columns)


def _sizes(study: Study) -> Finding:
    infos = [study.infos[file] for file in study.files]
    small = [info for info in infos if max(info.width, info.height) < SMALL_SIDE]
    ratios = Counter(round(info.width / info.height, 1) for info in infos)
    mixed = len(ratios) > 1 and ratios.most_common(1)[0][1] < 0.9 * len(infos)
    return make_finding(
        "sizes" if small or mixed else "sizes:none",
        shown=[Example((info.file,), f"{info.width}x{info.height}") for info in small],
        most=12,
        values={"sizes": study.facts.sizes, "modes": study.facts.modes},
        sizes=some(study.facts.sizes.items(), 5) or "-",
        modes=some(study.facts.modes.items()) or "-",
        small=len(small),
        least=SMALL_SIDE,
    )


def _unlike(study: Study, columns: dict[str, FloatArray]) -> Finding:
    """Images whose colour, contrast or magnification is far from the rest."""
    z = np.stack([robust_z(columns[name]) for name in MEANINGS])  # (measures, n)
    furthest = np.abs(z).max(axis=0)
    order = [index for index in np.argsort(-furthest, kind="stable") if furthest[index] > OUTLIER]
    if not order:
        return make_finding("optics:none")
    measures = [int(np.abs(z[:, index]).argmax()) for index in order]
    words = [list(MEANINGS.values())[m][int(z[m, index] > 0)] for m, index in zip(measures, order, strict=True)]
    return make_finding(
        "optics",
        shown=[Example((study.files[i],), f"{word} than the rest") for i, word in zip(order, words, strict=True)],
        most=12,
        pictures=True,
        values={"files": [study.files[index] for index in order]},
        images=len(order),
        listed=some(Counter(words).most_common(), 8),
    )
