"""Scores as a table for the terminal, CSV or JSON."""

import csv
import io
import json

from rich.console import Console
from rich.table import Table

from embryofl_clinic.scoring.score import EmbryoScore, Scores
from embryofl_clinic.scoring.wording import GOOD, RESEARCH_USE
from embryofl_data.report.terminal import shown

COLUMNS = (
    "cohort",
    "embryo",
    "day",
    "files",
    "score",
    "low",
    "high",
    "calibrated",
    "good_of_100",
    "seen_low",
    "seen_high",
    "seen_embryos",
    "rank",
    "of",
    "warnings",
    "model_sha256",
    "use",
)


def as_json(scores: Scores) -> str:
    """Everything, as one JSON text."""
    return json.dumps(scores.to_dict(), indent=1) + "\n"


def as_csv(scores: Scores) -> str:
    """A row an embryo. Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    models = " ".join(m["sha256"] for m in scores.models)
    for e in scores.embryos:
        seen = e.seen
        row = [
            e.cohort,
            e.embryo,
            e.day,
            " ".join(e.files),
            e.score,
            e.low,
            e.high,
            e.calibrated,
            round(100 * seen.share) if seen else None,
            seen.low if seen else None,
            seen.high if seen else None,
            seen.embryos if seen else None,
            e.rank,
            e.of,
            "; ".join(e.warnings),
            models,
            "research use only",
        ]
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def meaning_in_words(embryo: EmbryoScore, meaning: str) -> str:
    """`of 100 embryos scored like this, about 62 were graded good`, or why that cannot be said."""
    became = GOOD[meaning]  # type: ignore[index]
    if embryo.score is None:
        return "no score"
    if embryo.calibrated is None:
        return "no calibration: the score orders embryos, it is not a probability"
    if embryo.seen is None:
        return "too few embryos with such a score were seen to say what it means"
    s = embryo.seen
    return (
        f"of 100 embryos scored like this, about {100 * s.share:.0f} {became} "
        f"(95 % interval {100 * s.low:.0f} to {100 * s.high:.0f}, from {s.embryos} embryos)"
    )


def print_scores(scores: Scores, console: Console) -> None:
    """A table for a person."""
    table = Table(title="Scores", title_justify="left")
    several = len(scores.models) > 1
    for name in ("cohort", "rank", "embryo", "day", "score", *(["low-high"] if several else []), "of 100", "look at"):
        table.add_column(name, justify="left" if name in ("cohort", "embryo", "look at") else "right")
    for e in scores.embryos:
        cells = [
            shown(e.cohort) or "?",
            f"{e.rank}/{e.of}" if e.rank else "-",
            shown(e.embryo or e.files[0]) + (f" ({len(e.files)} images)" if len(e.files) > 1 else ""),
            str(e.day) if e.day is not None else "-",
            f"{e.score:.3f}" if e.score is not None else "-",
        ]
        if several:
            cells.append(f"{e.low:.2f}-{e.high:.2f}" if e.low is not None else "-")
        good = f"{100 * e.seen.share:.0f} ({100 * e.seen.low:.0f}-{100 * e.seen.high:.0f})" if e.seen else "-"
        table.add_row(*cells, good, "; ".join(map(shown, e.warnings)))
    console.print(table)
    for note in scores.notes:
        console.print(shown(note), soft_wrap=True)
    console.print(_foot(scores), soft_wrap=True, highlight=False, markup=False)


def _foot(scores: Scores) -> str:
    became = GOOD[scores.meaning]  # type: ignore[index]
    calibrated = all(m["calibrated"] for m in scores.models)
    of = (
        f"'of 100': of 100 validation embryos scored like this, so many {became} (95 % interval)."
        if calibrated
        else "No calibration came with the model: scores order embryos, they are not probabilities."
    )
    models = "\n".join(
        f"Model: {m['model']} of {m['run']}, round {m['round']}, SHA-256 {m['sha256']}" for m in scores.models
    )
    return f"{of}\n{models}\n{RESEARCH_USE}"
