"""`results.json`: everything a results page shows of a finished run."""

import time
from collections.abc import Sequence
from typing import Any

from embryofl.gardner import Agreement, added
from embryofl.metrics import ScoreSums, merge
from embryofl.metrics.bins import CENTRES
from embryofl_server.report.across import across_runs
from embryofl_server.report.audit import audit_of
from embryofl_server.report.calibration import Calibration, line
from embryofl_server.report.decision import describe_rule
from embryofl_server.report.external import external_validation
from embryofl_server.report.metrics import metrics_by_clinic
from embryofl_server.report.shortcuts import shortcuts
from embryofl_server.report.warnings import warnings
from embryofl_server.runs.evaluation import TOGETHER, evaluated_clinics, evaluation_of, released_sums
from embryofl_server.runs.metric_lines import DEFAULT_THRESHOLD, threshold_of
from embryofl_server.runs.metrics_seen import describe_pool, metrics_seen
from embryofl_server.runs.updates_seen import updates_seen
from embryofl_server.runs.view import evenly_spaced

FORMAT = 1
SPLITS = ("validation", "test")
MOST_ROUNDS = 200
"""Rounds in `results.json`; of more rounds, this many evenly spaced ones."""


def summarise(
    record: dict[str, Any],
    records: list[dict[str, Any]],
    earlier: Sequence[dict[str, Any]] = (),
    audit: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What `results.json` holds. It depends only on the files of this and earlier runs, so a resumed run writes the same.

    Parameters
    ----------
    record : dict
        What `model.json` holds.
    records : list of dict
        Records of the rounds (see `checkpoint`).
    earlier : sequence of dict
        See `across.earlier_results`.
    audit : dict, optional
        What `audit.json` holds.
    """
    threshold = threshold_of(record)
    results: dict[str, Any] = {
        "format": FORMAT,
        "run": record["run"],
        "date": max(map(day_begun, records), default=""),
        "round": record["round"],
        "sha256": record["sha256"],
        "incomplete": record.get("incomplete", ""),
        "refused": record.get("refused", {}),
        "use": record["use"],
        "meaning": record["settings"]["meaning"],
        "settings": record["settings"],
        "updates": updates_seen(record["settings"]),
        "voted_down": _voted_down(records),
        "releases": record["releases"],
        "metrics_seen": metrics_seen(record["releases"], record["spent"], record["settings"]["pooled_every"]),
        "best_validation": record["best_validation"],
        "calibration": record["calibration"],
        "threshold": {"value": threshold, "fixed": record["calibration"] is not None, "rule": describe_rule(record)},
        "splits": {split: _split(record, split, threshold) for split in SPLITS},
        "personal": _personal(record),
        "grades": {split: _grades(record, split) for split in SPLITS},
        "rounds": _course(records, threshold),
        "audit": audit_of(audit or {}, record["settings"]),
    }
    internal = results["splits"]["test"]["pooled"]["all"]
    results["external"] = external_validation(record, internal, _calibration(record), threshold)
    results["across_runs"] = across_runs(results, list(earlier))
    return {**results, "warnings": warnings(results)}


def day_begun(record: dict[str, Any]) -> str:
    """The day on which a round began, UTC; "" for the initial model."""
    return time.strftime("%Y-%m-%d", time.gmtime(record["began"])) if "began" in record else ""


def _voted_down(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rounds in which clinics have voted a model down: `round`, the round whose model was taken again (`to`; None if
    the model had to stay), and why."""
    return [
        {"round": r["round"], "to": r.get("back_to"), "words": r["void"] if "back_to" in r else words}
        for r in records
        if (words := r.get("masking", {}).get("voted_down")) or "back_to" in r
    ]


def _personal(record: dict[str, Any]) -> dict[str, Any] | None:
    """The personal models, each on its own clinic's patients, at a score of 0.5; None for a run without any."""
    kind = record["settings"]["personal"]
    if not kind:
        return None
    personal = {n: c["personal"] for n, c in sorted(record["evaluation"].items()) if c.get("personal")}
    sums = {split: {n: ScoreSums.from_dict(p[split]) for n, p in personal.items() if p.get(split)} for split in SPLITS}
    return {
        "kind": kind,
        "threshold": DEFAULT_THRESHOLD,
        "splits": {s: metrics_by_clinic(t, None, DEFAULT_THRESHOLD) for s, t in sums.items()},
    }


def _grades(record: dict[str, Any], split: str) -> dict[str, Any]:
    """Clinic (and "pooled") to Gardner target to embryos, share that agrees exactly, mean distance in levels."""
    grades = {n: c["grades"].get(split, {}) for n, c in sorted(record["evaluation"].items()) if c.get("grades")}
    sums = {n: {t: Agreement.model_validate(a) for t, a in by_target.items()} for n, by_target in grades.items()}
    return {
        name: {
            target: {"embryos": a.embryos, "exact": a.exact / a.embryos, "distance": a.distance / a.embryos}
            for target, a in by_target.items()
        }
        for name, by_target in {**sums, "pooled": added(list(sums.values()))}.items()
        if by_target
    }


def _calibration(record: dict[str, Any]) -> Calibration | None:
    learned = record["calibration"]
    return Calibration(learned["temperature"], learned["intercept"]) if learned else None


def _split(record: dict[str, Any], split: str, threshold: float) -> dict[str, Any]:
    calibration, clinics = _calibration(record), evaluated_clinics(record, split)
    released = released_sums(record, split)
    whose = describe_pool(len(clinics), len({*clinics, *record["releases"]}))
    return {**metrics_by_clinic(released, calibration, threshold), "whose": whose, "shortcuts": shortcuts(released)}


def _course(records: list[dict[str, Any]], threshold: float) -> list[dict[str, Any]]:
    """How a run went: one entry per round whose model was evaluated: `round`, `pooled` and `clinics` (results on validation
    patients), and `training`.

    Drift of the data shows in how the scores and labels of a clinic's validation patients move against each other; drift of
    a clinic's updates in how far its model is from the others' (`distance`).

    Parameters
    ----------
    records : list of dict
        Records of the rounds (see `checkpoint`); that of round r holds the validation sums of the model of round r - 1.
    threshold : float
        The final model's.
    """
    rounds = evenly_spaced([r for r in records if r["round"] > 0], MOST_ROUNDS)
    return [_round(record, threshold) for record in rounds]


def _round(record: dict[str, Any], threshold: float) -> dict[str, Any]:
    clinics = dict(sorted(record.get("clinics", {}).items()))
    sums = released_sums(evaluation_of(record), "validation")
    training = {
        name: {
            "round": record["round"],
            "loss": c.get("train_loss"),
            **{key: c.get(key) for key in ("distance", "norm", "examples")},
        }
        for name, c in clinics.items()
    }
    return {
        "round": record["round"] - 1,
        "pooled": _round_results(merge(sums.values()), threshold),
        "clinics": {
            name: _round_results(clinic_sums, threshold) for name, clinic_sums in sums.items() if name != TOGETHER
        },
        "training": training,
    }


def _round_results(sums: ScoreSums, threshold: float) -> dict[str, Any]:
    summary, histogram = sums.summary(threshold=threshold), sums.pooled().histogram
    fit = line(histogram)
    metrics = (
        "n",
        "positives",
        "auroc",
        "auroc_se",
        "auroc_blur",
        "loss",
        "brier",
        "ece",
        "sensitivity",
        "specificity",
    )
    return {
        **{name: getattr(summary, name) for name in metrics},
        "mean_score": float(histogram.sum(axis=0) @ CENTRES / summary.n) if summary.n else None,
        "slope": fit.slope if fit else None,
        "in_the_large": fit.in_the_large if fit else None,
    }
