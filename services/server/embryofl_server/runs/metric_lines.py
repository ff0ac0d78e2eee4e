"""From the clinics' score sums to metric lines: by clinic and pooled, by day and over all days."""

from collections.abc import Iterable
from typing import Any

from embryofl.metrics import ScoreSums, merge
from embryofl_server.runs.evaluation import TOGETHER, evaluated_clinics, evaluation_of, released_sums
from embryofl_server.runs.metric_labels import POOLED

PERSONAL = "personal_"  # of the clinics' personal models: each on its own clinic's patients
DEFAULT_THRESHOLD = 0.5
_ELSEWHERE = (
    "validation",
    "personal",
    "examples",
    "train_loss",
)  # in a training line under another name, or not at all


def threshold_of(record: dict[str, Any]) -> float:
    """The threshold in a `model.json`, of the model's own score; without one, `DEFAULT_THRESHOLD`."""
    calibration = record.get("calibration")
    return float(calibration["threshold"]) if calibration else DEFAULT_THRESHOLD


def _lines(round_: int, clinic: str, split: str, sums: ScoreSums, threshold: float) -> list[dict[str, Any]]:
    head = {"round": round_, "clinic": clinic, "split": split}
    days = (None, *sorted(sums.days))
    return [{**head, "day": day, **sums.summary(day, threshold).to_dict()} for day in days]


def split_lines(
    round_: int, split: str, by_clinic: dict[str, ScoreSums], threshold: float = DEFAULT_THRESHOLD, clinics: int = 0
) -> list[dict[str, Any]]:
    """Metric lines of one split of one round's model: each clinic's, then the pooled ones, in which `TOGETHER` counts, with
    the number of `clinics` (default: those in `by_clinic`)."""
    if not by_clinic:
        return []
    names = sorted({*by_clinic} - {TOGETHER})
    lines = [line for name in names for line in _lines(round_, name, split, by_clinic[name], threshold)]
    pooled = _lines(round_, POOLED, split, merge(by_clinic[n] for n in sorted(by_clinic)), threshold)
    return lines + [{**line, "clinics": clinics or len(by_clinic)} for line in pooled]


def record_lines(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Metric lines of a round's record (see `checkpoint`).

    A training reply of round r carries the validation metrics of the model of round r - 1; its record also has what was
    summed under masks on the way.
    """
    clinics: dict[str, Any] = record.get("clinics", {})
    on_the_way = evaluation_of(record)
    validation, count = released_sums(on_the_way, "validation"), len(evaluated_clinics(on_the_way, "validation"))
    lines = split_lines(record["round"] - 1, "validation", validation, clinics=count)
    personal = {n: ScoreSums.from_dict(c["personal"]) for n, c in clinics.items() if c.get("personal")}
    lines += split_lines(record["round"] - 1, PERSONAL + "validation", personal)
    for name, c in sorted(clinics.items()):
        head = {"round": record["round"], "clinic": name, "split": "train", "day": None, "loss": c.get("train_loss")}
        lines.append({**head, "n": c["examples"], **{k: v for k, v in c.items() if k not in _ELSEWHERE}})
    return lines


Best = tuple[int, float]
"""A round, and the pooled validation AUROC of its model over all days."""


def best_round(lines: Iterable[dict[str, Any]], before: Best | None = None) -> Best | None:
    """The round whose model has the highest pooled validation AUROC, the first of equals; `before`: the best so far."""
    best = before
    for x in lines:
        counts = x["clinic"] == POOLED and x["split"] == "validation" and x["day"] is None and x["auroc"] is not None
        if counts and (best is None or x["auroc"] > best[1]):
            best = (x["round"], x["auroc"])
    return best


def final_lines(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Metric lines of the final evaluation (`model.json`), at the threshold that was fixed on validation patients."""
    lines = []
    for split in ("validation", "test"):
        released, clinics = released_sums(record, split), len(evaluated_clinics(record, split))
        lines += split_lines(record["round"], split, released, threshold_of(record), clinics)
        personal = {n: c.get("personal") or {} for n, c in record["evaluation"].items()}
        sums = {n: ScoreSums.from_dict(p[split]) for n, p in personal.items() if p.get(split)}
        lines += split_lines(record["round"], PERSONAL + split, sums)
    return lines


def no_better_since(best: Best | None, newest: int, patience: int) -> bool:
    """Whether training may end: the newest `patience` validated models are no better than one before them.

    Parameters
    ----------
    best : Best or None
    newest : int
        Round of the newest validated model.
    patience : int
        0 = never.
    """
    return bool(patience) and best is not None and newest - best[0] >= patience
