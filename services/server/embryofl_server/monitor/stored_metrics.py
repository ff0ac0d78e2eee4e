"""Metrics that change only when a run's files do: counters over all runs, and the model of the run people mean."""

from collections.abc import Iterable

import numpy as np

from embryofl.exposition import Families
from embryofl.messages import CLINIC_PHASES
from embryofl.metrics import CALIBRATION_BINS, CENTRES, ScoreSums, nearest_edge
from embryofl.states import OVER
from embryofl_server.monitor.live_metrics import METRICS
from embryofl_server.runs.metric_labels import ALL_DAYS, POOLED, ROUND_BUCKETS_S, THRESHOLDS, UPDATE_RESULTS
from embryofl_server.runs.tallies import Counts
from embryofl_server.runs.view import RunView

RUNS_SHOWN = 20


def _by_name(prefix: str, *labels: str) -> dict[str, str]:
    """The metrics with these labels, each with the key of a metric line that it is named after."""
    return {
        name: name.removeprefix(prefix)
        for name, (_, *its_labels) in METRICS.items()
        if name.startswith(prefix) and its_labels == list(labels)
    }


_OF_A_REPLY = _by_name("embryofl_clinic_", "clinic") | {
    "embryofl_clinic_examples": "n",
    "embryofl_clinic_train_loss": "loss",
    **{f"embryofl_clinic_update_{key}": key for key in ("norm", "distance", "share")},
}
_OF_A_MODEL = _by_name("embryofl_model_", "clinic", "split", "day") | {
    "embryofl_model_embryos": "n",
    "embryofl_model_auroc_error": "auroc_se",
}


def stored_metrics(runs: list[RunView], current: RunView | None, enrolled: Iterable[str]) -> Families:
    """All of them. Clinics that have not done anything yet count 0."""
    out, counts = Families(METRICS), Counts()
    rejected_at: dict[str, tuple[float, str]] = {}
    for run in runs:
        counts.update(run.counts())
        rejected_at.update(run.rejected_at())
    states = [run.state["state"] for run in runs]
    for state in OVER:
        out.add("embryofl_runs_total", states.count(state), state)
    for run in runs[-RUNS_SHOWN:]:
        out.add("embryofl_run_started_timestamp_seconds", run.started, run.name)
    _add_rounds(out, counts)
    _add_replies(out, counts, enrolled)
    for clinic, (at, reason) in sorted(rejected_at.items()):
        out.add("embryofl_clinic_refusal_timestamp_seconds", at, clinic, reason)
    if current:
        _add_newest_round(out, current)
        _add_last_replies(out, current)
        _add_quality(out, current)
    return out


def _add_rounds(out: Families, counts: Counts) -> None:
    out.add("embryofl_rounds_total", counts["rounds",])
    out.add("embryofl_run_resumptions_total", counts["resumptions",])
    out.add("embryofl_hub_link_losses_total", counts["link_losses",])
    buckets = [counts["round_bucket", str(number)] for number in range(len(ROUND_BUCKETS_S) + 1)]
    out.histogram("embryofl_round_duration_seconds", ROUND_BUCKETS_S, buckets, counts["round_seconds",])


def _add_replies(out: Families, counts: Counts, enrolled: Iterable[str]) -> None:
    for clinic in enrolled:
        for result in UPDATE_RESULTS:
            out.add("embryofl_updates_total", counts["results", clinic, result], clinic, result)
        for phase in CLINIC_PHASES:
            seconds = counts["phase_seconds", clinic, phase]
            out.add("embryofl_clinic_phase_seconds_total", seconds, clinic, phase)
        out.add("embryofl_clinic_images_total", counts["images", clinic], clinic)
        for direction in ("down", "up"):
            out.add("embryofl_clinic_transferred_bytes_total", counts[direction, clinic], clinic, direction)
    for key in sorted(key for key in counts if key[0] == "reasons"):
        out.add("embryofl_updates_refused_total", counts[key], *key[1:])


def _add_newest_round(out: Families, run: RunView) -> None:
    record = run.record
    if run.last_round and record.get("seconds"):
        clinics = float(record["seconds"]["clinics"])
        hub = max(0.0, float(run.last_round["seconds"]) - clinics)
        out.add("embryofl_round_last_duration_seconds", clinics, "clinics")
        out.add("embryofl_round_last_duration_seconds", hub, "aggregate")
    if record:
        out.add("embryofl_checkpoint_timestamp_seconds", record["written"])
        out.add("embryofl_checkpoint_size_bytes", record["size"])


def _add_last_replies(out: Families, run: RunView) -> None:
    for (split, clinic, _), line in sorted(run.newest_lines().items()):
        if split != "train":
            continue
        seconds, trained = line["seconds"], line["n"] * run.settings.local_epochs
        out.add_all({name: line.get(key) for name, key in _OF_A_REPLY.items()}, clinic)
        values = {
            "embryofl_clinic_update_scale": line.get("scale", 1),
            "embryofl_clinic_images_per_second": trained / seconds["train"] if seconds.get("train") else None,
            "embryofl_clinic_loading_last_seconds": seconds.get("loading"),
        }
        out.add_all(values, clinic)
        for phase in CLINIC_PHASES:
            out.add("embryofl_clinic_phase_last_seconds", seconds.get(phase), clinic, phase)
        kind = str(line.get("device", "")).partition(":")[0]  # what a clinic reports becomes no label unchecked
        out.add("embryofl_clinic_device_info", 1, clinic, kind if kind in ("cpu", "cuda") else "other")


def _add_quality(out: Families, run: RunView) -> None:
    best, sums = run.best(), run.sums()
    for (split, clinic, day), line in sorted(run.newest_lines().items()):
        if split == "train":
            continue
        if clinic == POOLED and day == ALL_DAYS:
            out.add("embryofl_model_round", line["round"], split)
        out.add_all({name: line.get(key) for name, key in _OF_A_MODEL.items()}, clinic, split, day)
        auroc, round_ = best.get((split, clinic, day), (None, None))
        out.add("embryofl_model_auroc_best", auroc, clinic, split, day)
        out.add("embryofl_model_auroc_best_round", round_, clinic, split, day)
    for split, by_clinic in sums.items():
        for clinic, clinic_sums in sorted(by_clinic.items()):
            _add_thresholds(out, clinic_sums, clinic, split)
    if POOLED in sums.get("validation", {}):
        _add_calibration(out, sums["validation"][POOLED])


def _add_thresholds(out: Families, sums: ScoreSums, clinic: str, split: str) -> None:
    for day in (None, *sorted(sums.days)):
        below = np.cumsum(sums.pooled(day).histogram, axis=1)  # (2, BINS)
        negatives, positives = below[:, -1].tolist()
        for threshold in THRESHOLDS:
            excluded = below[:, nearest_edge(threshold) - 1].tolist()  # of each class, as in `ScoreSums.summary`
            values = {
                "embryofl_model_sensitivity": 1 - excluded[1] / positives if positives else None,
                "embryofl_model_specificity": excluded[0] / negatives if negatives else None,
            }
            out.add_all(values, clinic, split, ALL_DAYS if day is None else str(day), f"{threshold:g}")


def _add_calibration(out: Families, sums: ScoreSums) -> None:
    """The bins of the expected calibration error, one by one; empty ones have no shares."""
    histogram = sums.pooled().histogram  # (2, BINS)
    coarse = np.minimum((CENTRES * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    for number in range(CALIBRATION_BINS):
        inside, scores = histogram[:, coarse == number], CENTRES[coarse == number]
        label = f"{number / CALIBRATION_BINS:.1f}-{(number + 1) / CALIBRATION_BINS:.1f}"
        count = int(inside.sum())
        out.add("embryofl_model_calibration_embryos", count, label)
        if count:
            out.add("embryofl_model_calibration_score", float(inside.sum(0) @ scores) / count, label)
            out.add("embryofl_model_calibration_frequency", int(inside[1].sum()) / count, label)
