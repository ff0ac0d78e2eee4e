"""What may tell who a patient is: metadata, file names, identifiers, and text burnt into images."""

from collections import Counter
from collections.abc import Iterator

from embryofl_data.report.finding import Example, Finding, Verdict, plural, some
from embryofl_data.report.names import looks_like
from embryofl_data.report.study import Study

EXAMPLES = 24
TEXT_SURE = 0.5
"""Score from which an image counts as one with text: see `burnt_text`."""


def check(study: Study) -> Iterator[Finding]:
    """Names first, which need no image; then metadata and text."""
    yield _names(study)
    if study.measures:
        yield _tags(study)
        yield _text(study)


def _names(study: Study) -> Finding:
    suspects = [Example((file,), f"looks like {what}") for file in study.files if (what := looks_like(file))]
    people = sorted({image.patient for image in study.images if looks_like(image.patient)})
    suspects += [Example((patient,), "in the column patient") for patient in people]
    if not suspects:
        return Finding("names", "File names", Verdict.OK, "No file name looks like a person's name or a date of birth.")
    return Finding(
        "names",
        "Names or dates of birth in file names or identifiers",
        Verdict.LOOK,
        f"{plural(len(suspects), 'name')} look like a person's name or a date of birth.",
        "Pseudonyms: names appear in this report, in logs and on the screen of whoever scores embryos.",
        "Rename the files, or put pseudonyms into the table. Nothing of this leaves the clinic either way.",
        tuple(suspects[:EXAMPLES]),
        len(suspects),
    )


def _tags(study: Study) -> Finding:
    assert study.measures is not None
    tags = study.measures.tags
    if not tags:
        return Finding("metadata", "Metadata", Verdict.OK, "No image carries metadata that may identify somebody.")
    fields = Counter(tag for found in tags.values() for tag in found)
    listed = some([f"{tag} ({count})" for tag, count in fields.most_common()], 8)
    return Finding(
        "metadata",
        "Metadata that may identify somebody",
        Verdict.LOOK,
        f"{plural(len(tags), 'image')} carry such fields: {listed}. What they say was not read out.",
        "Images without descriptions, names, dates, places and serial numbers.",
        "Export the images anew without metadata. Training does not use it, and it does not leave the clinic.",
        tuple(Example((file,), ", ".join(found)) for file, found in list(tags.items())[:EXAMPLES]),
        len(tags),
        values={"fields": dict(fields)},
    )


def _text(study: Study) -> Finding:
    assert study.measures is not None
    score = study.measures.columns["text"]
    found = [index for index in score.argsort()[::-1] if score[index] >= TEXT_SURE]
    if not found:
        return Finding("text", "Text in images", Verdict.OK, "No image seems to have text burnt in.")
    return Finding(
        "text",
        "Text burnt into images",
        Verdict.LOOK,
        f"{plural(len(found), 'image')} seem to have text burnt in.",
        "Images of nothing but the embryo: names and dates in them identify patients, and a network learns to read them.",
        "Look at them below. Export such images without the overlay, or crop it off.",
        tuple(Example((study.files[index],)) for index in found[:EXAMPLES]),
        len(found),
        pictures=True,
        values={"files": [study.files[index] for index in found]},
    )
