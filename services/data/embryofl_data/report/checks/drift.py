"""Whether the pictures look like those of the federation's other clinics."""

from collections.abc import Iterator

from embryofl.data_statistics import Deviation, deviations
from embryofl_data.report.finding import Finding, Verdict, plural
from embryofl_data.report.study import Study

ADVICE = {
    "brightness": "Compare lamp and exposure with those of the other clinics",
    "contrast": "Compare aperture, contrast setting and export with those of the other clinics",
    "warmth": "Compare the camera's white balance with the other clinics'",
    "tint": "Compare the camera's white balance with the other clinics'",
    "saturation": "Compare the colour setting of camera and export (a green or grey filter?) with the other clinics'",
    "extent": "Compare objective and crop with those of the other clinics",
}


def check(study: Study) -> Iterator[Finding]:
    """Where this clinic stands; nothing where the hub has told nothing, or there are too few images."""
    own, others = study.facts.statistics, study.others
    if own is None or others is None:
        return
    found = deviations(own, others)
    far = sorted((place for place in found if place.far), key=lambda place: -abs(place.distance))
    whom = f"{plural(others.images, 'image')} of {others.clinics} other clinics"
    values = {place.measure: _values(place) for place in found}
    if not far:
        yield Finding(
            "drift",
            "Like the other clinics' pictures",
            Verdict.OK,
            f"Light, colour and magnification are like those of {whom}.",
            values=values,
        )
        return
    yield Finding(
        "drift",
        "Unlike the other clinics' pictures",
        Verdict.LOOK,
        f"Compared with {whom}, on average: {'; '.join(f'{p.measure} {p.words}' for p in far)}.",
        "Means within one standard deviation of the others' images: a model learns most from what all clinics share.",
        ". ".join(dict.fromkeys(ADVICE[place.measure] for place in far))
        + ". Training goes on either way; look at this clinic's own figures before you rely on the common model.",
        count=len(far),
        values=values,
    )


def _values(place: Deviation) -> dict[str, float]:
    return {
        "own": round(place.own, 3),
        "others": round(place.others, 3),
        "spread": round(place.spread, 3),
        "distance": round(place.distance, 2),
    }
