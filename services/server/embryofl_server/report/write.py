"""Writing `results.json` and the model card beside a run's model."""

import json
from collections.abc import Mapping
from typing import Any

from embryofl.files import write_atomic
from embryofl_server.report import pages
from embryofl_server.report.across import earlier_results
from embryofl_server.report.card import model_card
from embryofl_server.report.summary import summarise
from embryofl_server.runs import Run
from embryofl_server.store import Clinic


def write_report(
    run: Run, record: dict[str, Any], records: list[dict[str, Any]], clinics: Mapping[str, Clinic]
) -> None:
    """Write `results.json` and `model-card.json`, `.md` and `.html`.

    Parameters
    ----------
    run : Run
    record : dict
        What `model.json` holds.
    records : list of dict
        Records of the rounds.
    clinics : mapping of str to Clinic
    """
    results = summarise(record, records, earlier_results(run))
    card = model_card(record, results, records, clinics)
    for name, text in (
        ("results.json", json.dumps(results)),
        ("model-card.json", json.dumps(card, indent=1)),
        ("model-card.md", pages.markdown(card)),
        ("model-card.html", pages.html(card, results)),
    ):
        write_atomic(run.folder / name, text.encode())
