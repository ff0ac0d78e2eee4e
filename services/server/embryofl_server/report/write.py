"""Write results and model card next to a model: the coordinator's, and a copy that others may see (`-public`)."""

import json
from collections.abc import Mapping
from typing import Any

from embryofl_server.members.store import Clinic
from embryofl_server.report import pages
from embryofl_server.report.across import earlier_results
from embryofl_server.report.card import model_card
from embryofl_server.report.published import published
from embryofl_server.report.summary import summarise
from embryofl_server.runs.log import Run
from embryofl_server.runs.view import RunView


def write_report(
    run: Run, record: dict[str, Any], records: list[dict[str, Any]], clinics: Mapping[str, Clinic]
) -> None:
    """Write `results.json` and `model-card.json`, `.md` and `.html`, and the `-public` copies that others may see.

    Parameters
    ----------
    run : Run
    record : dict
        What `model.json` holds.
    records : list of dict
        Records of the rounds.
    clinics : mapping of str to Clinic
    """
    results = summarise(record, records, earlier_results(run), RunView(run).audit())
    public = published(results, clinics)
    files = {
        "results.json": json.dumps({**results, "held_back": public["held_back"]}),
        "results-public.json": json.dumps(public),
    }
    for name, shown in (("model-card", {**results, "held_back": []}), ("model-card-public", public)):
        card = model_card(record, shown, records, clinics, public["held_back"])
        files[f"{name}.json"] = json.dumps(card, indent=1)
        files[f"{name}.md"] = pages.markdown(card)
        files[f"{name}.html"] = pages.html(card, shown)
    for name, text in files.items():
        run.write(name, text)
