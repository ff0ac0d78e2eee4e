"""The model card as one object, from which its JSON, Markdown and HTML are written.

It depends only on the run's files, the clinics' enrolment and the installed versions, so writing it again after a kill
gives the same files.
"""

import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from embryofl.texts import load_texts
from embryofl_server.members.store import Clinic
from embryofl_server.report.numbers import count, counts_by_day
from embryofl_server.report.published import LEAST
from embryofl_server.report.summary import day_begun
from embryofl_server.report.warnings import no_test_results

FORMAT = 1
TEXTS = load_texts(__package__)
METRICS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier score",
    "ece": "ECE (0)",
    "in_the_large": "calibration in the large (0)",
    "slope": "calibration slope (1)",
}
"""Names of what is compared in an external validation."""
PACKAGES = ("embryofl-server", "embryofl", "flwr", "numpy", "torch")
TRIPOD = [
    dict(zip(("item", "topic", "covered", "where"), item, strict=True))
    for item in tomllib.loads(Path(__file__).with_name("tripod.toml").read_text("utf-8"))["items"]
]
"""TRIPOD+AI items: number, what it asks for, `covered` ("card", "partly", "person"), where or what to add."""


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
        All enrolled clinics; the card names only those that took part.
    held_back : sequence of str
        Clinics whose own results are hidden from others: the coordinator's card, which has them, says so.
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
        "use": {"intended": TEXTS.use, "users": TEXTS.users, "not_for": TEXTS.not_for},
        "label": {"meaning": settings["meaning"], "words": TEXTS.labels[settings["meaning"]]},
        "warnings": results["warnings"],
        "made": {
            "words": TEXTS.made,
            "model": settings["model"],
            "input": f"one image of one embryo, {settings['image_size']} x {settings['image_size']} pixels; for several "
            "images of an embryo the log odds are averaged",
            "output": "a score from 0 to 1, higher for label 1",
            "strategy": settings["strategy"],
            "rounds": record["round"],
            "clinics": ", ".join(settings["clinics"]),
            "updates": results["updates"],
            "voted_down": [f"Round {one['round']}: {one['words']}" for one in results["voted_down"]],
            "metrics": results["metrics_seen"],
            "parameters": record["parameters"],
            "sha256": record["sha256"],
            "trained": {"first": min(map(day_begun, trained), default=""), "last": results["date"]},
        },
        "data": {"words": TEXTS.data, "clinics": [_clinic(n, trained, results, clinics.get(n)) for n in names]},
        "threshold": results["threshold"],
        "calibration": results["calibration"],
        "figures": results["splits"]["test"],
        "no_figures": no_test_results(results)["words"],
        "audit": results["audit"]["words"] if results["audit"] else [],
        "held_back": {"clinics": results["held_back"], "words": _hidden_note(results, held_back)},
        "personal": _personal(results["personal"]),
        "external": results["external"] and {**results["external"], "words": TEXTS.external, "names": METRICS},
        "across_runs": {**results["across_runs"], "words": {key: TEXTS[key] for key in ("seeds", "over_time")}},
        "best_validation": results["best_validation"],
        "limits": [TEXTS.limits_external, *TEXTS.limits[1:]] if results["external"] else TEXTS.limits,
        "licence": TEXTS.licence,
        "settings": settings,
        "versions": {"python": python_version(), **{package: version(package) for package in PACKAGES}},
        "tripod_ai": TRIPOD,
    }


def _hidden_note(results: dict[str, Any], held_back: Sequence[str]) -> str:
    """That results are hidden: on the public card, that they are missing; on the coordinator's, that they are on it."""
    text = TEXTS.hidden.public if results["held_back"] else TEXTS.hidden.coordinator
    return text.format(clinics=", ".join(held_back), least=LEAST) if held_back else ""


def _personal(personal: dict[str, Any] | None) -> dict[str, Any] | None:
    """The personal models' results on test patients."""
    if personal is None:
        return None
    kind, test = personal["kind"], personal["splits"]["test"]["clinics"]
    return {"kind": kind, "words": TEXTS.personal[kind], "clinics": test}


def _clinic(name: str, trained: list[dict[str, Any]], results: dict[str, Any], clinic: Clinic | None) -> dict[str, Any]:
    """One clinic's data; of a clinic that hides its results, only that it took part."""
    examples = [r["clinics"][name]["examples"] for r in trained if name in r.get("clinics", {})]
    shown = {"clinic": name, "images": {}, "patients": "-", "training": "-", "rounds": len(examples)}
    if name in results["held_back"]:
        return {**shown, **dict.fromkeys(("validation", "test"), {"embryos": "-", "good": "-"})}
    summary = clinic.summary if clinic else {}
    return {
        **shown,
        "images": counts_by_day(summary),
        "patients": count(summary.get("patients")),
        "training": count(max(examples, default=0)),
        **{split: _evaluated(results, split, name) for split in ("validation", "test")},
    }


def _evaluated(results: dict[str, Any], split: str, name: str) -> dict[str, int | str]:
    evaluated = results["splits"][split]["clinics"].get(name)
    if evaluated is None:
        return {"embryos": "-", "good": "-"}
    return {"embryos": evaluated["all"]["n"], "good": evaluated["all"]["positives"]}
