"""`results.json`: everything a results page shows of a run that is over."""

from typing import Any

from embryofl.gardner import Agreement, added
from embryofl.metrics import ScoreSums
from embryofl_server.report.calibrated import calibration_of, rule_in_words, threshold_of
from embryofl_server.report.course import course
from embryofl_server.report.figures import figures
from embryofl_server.report.shortcuts import shortcuts
from embryofl_server.report.warnings import warnings

FORMAT = 1
SPLITS = ("validation", "test")


def summarise(record: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """What `results.json` holds. It follows from the run's files alone, so that a resumed run writes the same.

    Parameters
    ----------
    record : dict
        What `model.json` holds.
    records : list of dict
        Records of the rounds (see `checkpoint`).
    """
    threshold = threshold_of(record)
    found: dict[str, Any] = {
        "format": FORMAT,
        "run": record["run"],
        "round": record["round"],
        "sha256": record["sha256"],
        "incomplete": record.get("incomplete", ""),
        "refused": record.get("refused", {}),
        "use": record["use"],
        "meaning": record["settings"]["meaning"],
        "settings": record["settings"],
        "best_validation": record["best_validation"],
        "calibration": record["calibration"],
        "threshold": {"value": threshold, "fixed": record["calibration"] is not None, "rule": rule_in_words(record)},
        "splits": {split: _split(record, split, threshold) for split in SPLITS},
        "grades": {split: _grades(record, split) for split in SPLITS},
        "rounds": course(records, threshold),
    }
    return {**found, "warnings": warnings(found)}


def _grades(record: dict[str, Any], split: str) -> dict[str, Any]:
    """Clinic (and "pooled") to Gardner target to embryos, share that agrees exactly, mean distance in levels."""
    told = {n: c["grades"].get(split, {}) for n, c in sorted(record["evaluation"].items()) if c.get("grades")}
    sums = {n: {t: Agreement.model_validate(a) for t, a in by_target.items()} for n, by_target in told.items()}
    return {
        name: {
            target: {"embryos": a.embryos, "exact": a.exact / a.embryos, "distance": a.distance / a.embryos}
            for target, a in by_target.items()
        }
        for name, by_target in {**sums, "pooled": added(list(sums.values()))}.items()
        if by_target
    }


def _split(record: dict[str, Any], split: str, threshold: float) -> dict[str, Any]:
    evaluation, calibration = record["evaluation"], calibration_of(record)
    by_clinic = {n: ScoreSums.from_dict(evaluation[n][split]) for n in sorted(evaluation) if evaluation[n].get(split)}

    def by_day(*clinics: ScoreSums) -> dict[str, Any]:
        days = {"all": None, **{str(day): day for day in sorted({day for sums in clinics for day in sums.days})}}
        return {name: figures(clinics, day, calibration, threshold) for name, day in days.items()}

    return {
        "pooled": by_day(*by_clinic.values()),
        "clinics": {name: by_day(sums) for name, sums in by_clinic.items()},
        "shortcuts": shortcuts(by_clinic),
    }
