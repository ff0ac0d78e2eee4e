"""Whether the images look like those of the federation's other clinics."""

from collections.abc import Iterator
from dataclasses import replace

from embryofl.data_statistics import deviations
from embryofl_data.report.report import Finding, make_finding, texts
from embryofl_data.report.study import Study


def check(study: Study) -> Iterator[Finding]:
    """Compare with the other clinics; nothing without their statistics, or with too few images."""
    clinic, others = study.facts.statistics, study.others
    if clinic is None or others is None:
        return
    compared = deviations(clinic, others)
    values = {
        each.measure: {
            "own": round(each.own, 3),
            "others": round(each.others, 3),
            "spread": round(each.spread, 3),
            "distance": round(each.distance, 2),
        }
        for each in compared
    }
    named = f"those of {others.clinics} other clinics ({others.images:,} images)"
    far = sorted((each for each in compared if each.far), key=lambda each: -abs(each.distance))
    if not far:
        yield make_finding("drift:none", values=values, others=named)
        return
    advice = texts()["drift"]["advice_by_measure"]
    finding = make_finding(
        "drift",
        values=values,
        others=named,
        listed="; ".join(f"{each.measure} {each.words}" for each in far),
        advice=" ".join(dict.fromkeys(advice[each.measure] for each in far)),
    )
    yield replace(finding, count=len(far))
