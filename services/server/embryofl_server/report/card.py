"""The model card as one object, from which its JSON, Markdown and HTML are written.

It follows from the run's files, the clinics' enrolment and the installed versions alone: writing it again after a kill
gives the same files.
"""

import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

from embryofl.metrics import SMALLEST_COUNT
from embryofl_server.members.store import Clinic
from embryofl_server.report import texts, tripod
from embryofl_server.report.published import held_back_words, not_for_others_words

FORMAT = 1
PACKAGES = ("embryofl-server", "embryofl", "flwr", "numpy", "torch")
_DAYS = (*map(str, range(15)), "unknown")
_LABELS = ("1", "0", "unlabelled")


def model_card(
    record: dict[str, Any],
    results: dict[str, Any],
    records: list[dict[str, Any]],
    clinics: Mapping[str, Clinic],
    held_back: Sequence[str],
) -> dict[str, Any]:
    """The card of a run.

    Parameters
    ----------
    record : dict
        What `model.json` holds.
    results : dict
        What `results.json` holds, or what others may see of it (`published`).
    records : list of dict
        Records of the rounds.
    clinics : mapping of str to Clinic
        All enrolled ones; only those that took part are told of.
    held_back : sequence of str
        Clinics whose figures others do not see: the coordinator's card, which has them, says so.
    """
    settings = record["settings"]
    trained = [r for r in records if r["round"] > 0]
    names = sorted({n for r in trained for n in r.get("clinics", {})} | set(record["evaluation"]))
    return {
        "format": FORMAT,
        "title": f"Embryo score of {record['run']}: {settings['model']}, label {settings['meaning'].replace('_', ' ')}",
        "run": record["run"],
        "complete": not results["incomplete"],
        "incomplete": results["incomplete"],
        "use": {"intended": texts.USE, "users": texts.USERS, "not_for": texts.NOT_FOR},
        "label": {"meaning": settings["meaning"], "words": texts.LABELS[settings["meaning"]]},
        "warnings": results["warnings"],
        "made": {
            "words": texts.MADE,
            "model": settings["model"],
            "input": f"one picture of one embryo, {settings['image_size']} x {settings['image_size']} pixels; of several "
            "pictures of an embryo the log odds are averaged",
            "output": "a score from 0 to 1, higher for label 1",
            "strategy": settings["strategy"],
            "rounds": record["round"],
            "parameters": record["parameters"],
            "sha256": record["sha256"],
            "trained": _dates(trained),
        },
        "data": {"words": texts.DATA, "clinics": [_clinic(n, trained, results, clinics.get(n)) for n in names]},
        "threshold": results["threshold"],
        "calibration": results["calibration"],
        "figures": results["splits"]["test"],
        "held_back": {
            "clinics": results["held_back"],
            "words": held_back_words(held_back) if results["held_back"] else not_for_others_words(held_back),
        },
        "personal": _own_models(results),
        "across_runs": {**results["across_runs"], "words": {"seeds": texts.SEEDS, "over_time": texts.OVER_TIME}},
        "best_validation": results["best_validation"],
        "limits": list(texts.LIMITS),
        "licence": texts.LICENCE,
        "settings": settings,
        "versions": _versions(),
        "tripod_ai": tripod.items(),
    }


def _own_models(results: dict[str, Any]) -> dict[str, Any] | None:
    """The clinics' own models on held-out patients, beside the global one's figures on the same patients."""
    own = results["personal"]
    if own is None:
        return None
    test = own["splits"]["test"]["clinics"]
    return {"kind": own["kind"], "words": texts.PERSONAL[own["kind"]], "clinics": test}


def _dates(trained: list[dict[str, Any]]) -> dict[str, str]:
    """First and last day of training, UTC."""
    began = [r["began"] for r in trained if "began" in r]
    if not began:
        return {"first": "", "last": ""}
    first, last = (time.strftime("%Y-%m-%d", time.gmtime(at)) for at in (min(began), max(began)))
    return {"first": first, "last": last}


def _clinic(name: str, trained: list[dict[str, Any]], results: dict[str, Any], clinic: Clinic | None) -> dict[str, Any]:
    """What is told of one clinic's data: of one that is held back, only that it took part."""
    if name in results["held_back"]:
        rounds = sum(name in r.get("clinics", {}) for r in trained)
        none = {"embryos": "-", "good": "-"}
        return {
            "clinic": name,
            "images": {},
            "patients": "-",
            "training": "-",
            "rounds": rounds,
            "validation": none,
            "test": none,
        }
    examples = [r["clinics"][name]["examples"] for r in trained if name in r.get("clinics", {})]
    summary = clinic.summary if clinic else {}
    return {
        "clinic": name,
        "images": _counts(summary.get("counts")),
        "patients": _count(summary.get("patients")),
        "training": _count(max(examples, default=0)),
        "rounds": len(examples),
        **{split: _evaluated(results, split, name) for split in ("validation", "test")},
    }


def _evaluated(results: dict[str, Any], split: str, name: str) -> dict[str, int]:
    found = results["splits"][split]["clinics"].get(name, {}).get("all", {})
    return {"embryos": found.get("n", 0), "good": found.get("positives", 0)}


def _counts(value: object) -> dict[str, dict[str, str]]:
    """Counts by day and label as text; whatever else a clinic wrote into its summary is left out."""
    if not isinstance(value, dict):
        return {}
    return {
        day: {label: _count(value[day].get(label)) for label in _LABELS}
        for day in _DAYS
        if isinstance(value.get(day), dict)
    }


def _count(value: object) -> str:
    """A count by the small-count rule: its number, "<5", or "-" where it is none."""
    if type(value) is int and value >= 0:
        return str(value) if value == 0 or value >= SMALLEST_COUNT else f"<{SMALLEST_COUNT}"
    return f"<{SMALLEST_COUNT}" if value == f"<{SMALLEST_COUNT}" else "-"


def _versions() -> dict[str, str]:
    found = {"python": python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
