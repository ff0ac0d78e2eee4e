"""Writing `results.json` (the coordinator's), `results-public.json` and the model card (for others) beside a model."""

import json
from collections.abc import Mapping
from typing import Any

from embryofl.files import write_atomic
from embryofl_server.report import pages
from embryofl_server.report.across import earlier_results
from embryofl_server.report.card import model_card
from embryofl_server.report.published import published
from embryofl_server.report.summary import summarise
from embryofl_server.runs import Run
from embryofl_server.store import Clinic


def write_report(
    run: Run, record: dict[str, Any], records: list[dict[str, Any]], clinics: Mapping[str, Clinic]
) -> None:
    """Write `results.json`, `results-public.json` and `model-card.json`, `.md` and `.html`.

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
    public = published(results, clinics)
    card = model_card(record, public, records, clinics)
    for name, text in (
        ("results.json", json.dumps({**results, "held_back": public["held_back"]})),
        ("results-public.json", json.dumps(public)),
        ("model-card.json", json.dumps(card, indent=1)),
        ("model-card.md", pages.markdown(card)),
        ("model-card.html", pages.html(card, public)),
    ):
        write_atomic(run.folder / name, text.encode())
