"""What may identify a patient: metadata, file names, identifiers, and text printed into images."""

from collections import Counter
from collections.abc import Iterator

from embryofl_data.report.names import looks_like
from embryofl_data.report.report import Example, Finding, make_finding, some
from embryofl_data.report.study import Measures, Study

TEXT_SURE = 0.5
"""Score from which an image counts as one with text: see `burnt_text`."""


def check(study: Study) -> Iterator[Finding]:
    """Names first, which need no image; then metadata and text."""
    yield _names(study)
    if study.measures:
        yield _tags(study.measures)
        yield _text(study, study.measures)


def _names(study: Study) -> Finding:
    suspects = [Example((file,), f"looks like {what}") for file in study.files if (what := looks_like(file))]
    patients = sorted({image.patient for image in study.images if looks_like(image.patient)})
    suspects += [Example((patient,), "in the column patient") for patient in patients]
    return make_finding("names" if suspects else "names:none", shown=suspects, names=len(suspects))


def _tags(measures: Measures) -> Finding:
    if not measures.tags:
        return make_finding("metadata:none")
    fields = Counter(tag for tags in measures.tags.values() for tag in tags)
    return make_finding(
        "metadata",
        shown=[Example((file,), ", ".join(tags)) for file, tags in measures.tags.items()],
        values={"fields": dict(fields)},
        images=len(measures.tags),
        listed=some(fields.most_common(), 8),
    )


def _text(study: Study, measures: Measures) -> Finding:
    score = measures.columns["text"]
    files = [study.files[index] for index in score.argsort()[::-1] if score[index] >= TEXT_SURE]
    if not files:
        return make_finding("text:none")
    shown = [Example((file,)) for file in files]
    return make_finding("text", shown=shown, pictures=True, values={"files": files}, images=len(files))
