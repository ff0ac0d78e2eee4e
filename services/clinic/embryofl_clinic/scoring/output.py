"""Scores as a table for the terminal, CSV or JSON."""

import csv
import io
import json

from rich.console import Console
from rich.table import Table

from embryofl_clinic.scoring.score import EmbryoScore, Scores
from embryofl_clinic.texts import texts
from embryofl_data.report.terminal import shown

t = texts.table


def as_json(scores: Scores) -> str:
    """Everything, as one JSON text."""
    return json.dumps(scores.to_dict(), indent=1) + "\n"


def as_csv(scores: Scores) -> str:
    """One row per embryo. Text that a spreadsheet would take for a formula is prefixed with an apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    models = " ".join(m["sha256"] for m in scores.models)
    rows = [_row(e, models) for e in scores.embryos]
    writer.writerow(rows[0] if rows else _row(EmbryoScore("", "", None, ()), models))
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return out.getvalue()


def _row(e: EmbryoScore, models: str) -> dict[str, object]:
    seen = e.seen
    return {
        "cohort": e.cohort,
        "embryo": e.embryo,
        "day": e.day,
        "files": " ".join(e.files),
        "score": e.score,
        "low": e.low,
        "high": e.high,
        "calibrated": e.calibrated,
        "good_of_100": round(100 * seen.share) if seen else None,
        "seen_low": seen and seen.low,
        "seen_high": seen and seen.high,
        "seen_embryos": seen and seen.embryos,
        "rank": e.rank,
        "of": e.of,
        "warnings": "; ".join(e.warnings),
        "model_sha256": models,
        "use": "research use only",
    }


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def print_scores(scores: Scores, console: Console) -> None:
    """A table for the terminal."""
    table = Table(title=t.title, title_justify="left")
    several = len(scores.models) > 1
    for name in (*t.columns[:5], *(t.range_column if several else ()), *t.columns[5:]):
        table.add_column(name, justify="left" if name in t.left else "right")
    for e in scores.embryos:
        images = t.images.format(n=len(e.files)) if len(e.files) > 1 else ""
        cells = [
            shown(e.cohort) or "?",
            f"{e.rank}/{e.of}" if e.rank else "-",
            shown(e.embryo or e.files[0]) + images,
            str(e.day) if e.day is not None else "-",
            f"{e.score:.3f}" if e.score is not None else "-",
        ]
        if several:
            cells.append(f"{e.low:.2f}-{e.high:.2f}" if e.low is not None else "-")
        share = f"{100 * e.seen.share:.0f} ({100 * e.seen.low:.0f}-{100 * e.seen.high:.0f})" if e.seen else "-"
        table.add_row(*cells, share, "; ".join(map(shown, e.warnings)))
    console.print(table)
    for note in scores.notes:
        console.print(shown(note), soft_wrap=True)
    calibrated = all(m["calibrated"] for m in scores.models)
    lines = [t.calibrated.format(became=texts.became[scores.meaning]) if calibrated else t.uncalibrated]
    lines += [t.model.format(**m) for m in scores.models]
    console.print("\n".join([*lines, texts.research_short]), soft_wrap=True, highlight=False, markup=False)
