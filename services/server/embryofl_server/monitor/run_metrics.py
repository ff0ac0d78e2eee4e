"""What the run store says, as metrics: counters over all runs, and the newest run's model."""

import numpy as np

from embryofl.exposition import Families
from embryofl.metric_names import ALL_DAYS, CLINIC_PHASES, HUB, POOLED, ROUND_BUCKETS_S, THRESHOLDS, UPDATE_RESULTS
from embryofl.metrics import CALIBRATION_BINS, CENTRES, ScoreSums, nearest_edge
from embryofl_server.runs.history import History, RunHistory, Totals
from embryofl_server.runs.log import OVER

RUNS_SHOWN = 20
_FIGURES = ("loss", "auroc", "auprc", "brier", "ece")


def store_families(history: History, enrolled: list[str]) -> Families:
    """Everything that changes only when the store does. Clinics that have not done anything yet count 0."""
    out, totals, latest = Families(HUB), history.totals(), history.latest
    _runs(out, history)
    _rounds(out, totals, latest)
    _clinics(out, totals, enrolled)
    if latest:
        _last_answers(out, latest)
        _quality(out, latest)
    return out


def _runs(out: Families, history: History) -> None:
    ended = [r.state["state"] for r in history.runs]
    for state in OVER:
        out.add("embryofl_runs_total", ended.count(state), state)
    for run in history.runs[-RUNS_SHOWN:]:
        out.add("embryofl_run_started_timestamp_seconds", run.started, run.run.name)


def _rounds(out: Families, totals: Totals, latest: RunHistory | None) -> None:
    out.add("embryofl_rounds_total", totals.rounds)
    out.add("embryofl_run_resumptions_total", totals.resumptions)
    out.add("embryofl_hub_link_losses_total", totals.link_losses)
    out.histogram("embryofl_round_duration_seconds", ROUND_BUCKETS_S, totals.round_buckets, totals.round_seconds)
    if latest and latest.last_round and latest.record.get("seconds"):
        clinics = float(latest.record["seconds"]["clinics"])
        hub = max(0.0, float(latest.last_round["seconds"]) - clinics)
        out.add("embryofl_round_last_duration_seconds", clinics, "clinics")
        out.add("embryofl_round_last_duration_seconds", hub, "aggregate")
    if latest and latest.record:
        out.add("embryofl_checkpoint_timestamp_seconds", latest.record["written"])
        out.add("embryofl_checkpoint_size_bytes", latest.record["size"])


def _clinics(out: Families, totals: Totals, enrolled: list[str]) -> None:
    for clinic in enrolled:
        for result in UPDATE_RESULTS:
            out.add("embryofl_updates_total", totals.results[clinic, result], clinic, result)
        for phase in CLINIC_PHASES:
            out.add("embryofl_clinic_phase_seconds_total", totals.phase_seconds[clinic, phase], clinic, phase)
        out.add("embryofl_clinic_images_total", totals.images[clinic], clinic)
        out.add("embryofl_clinic_transferred_bytes_total", totals.down[clinic], clinic, "down")
        out.add("embryofl_clinic_transferred_bytes_total", totals.up[clinic], clinic, "up")
    for (clinic, reason), count in sorted(totals.reasons.items()):
        out.add("embryofl_updates_refused_total", count, clinic, reason)
    for clinic, (at, reason) in sorted(totals.refused_at.items()):
        out.add("embryofl_clinic_refusal_timestamp_seconds", at, clinic, reason)


def _last_answers(out: Families, run: RunHistory) -> None:
    for clinic, line in sorted(run.train.items()):
        out.add("embryofl_clinic_examples", line["n"], clinic)
        out.add("embryofl_clinic_train_loss", line["loss"], clinic)
        out.add("embryofl_clinic_update_norm", line["norm"], clinic)
        seconds = line.get("seconds") or {}
        for phase in CLINIC_PHASES:
            out.add("embryofl_clinic_phase_last_seconds", seconds.get(phase), clinic, phase)
        if seconds.get("train"):
            speed = line["n"] * run.settings.local_epochs / seconds["train"]
            out.add("embryofl_clinic_images_per_second", speed, clinic)
        out.add("embryofl_clinic_loading_last_seconds", seconds.get("loading"), clinic)
        out.add("embryofl_clinic_update_distance", line.get("distance"), clinic)
        out.add("embryofl_clinic_update_share", line.get("share"), clinic)
        out.add("embryofl_clinic_update_scale", line.get("scale", 1), clinic)
        out.add("embryofl_clinic_memory_bytes", line.get("memory_bytes"), clinic)
        out.add("embryofl_clinic_reconnects", line.get("reconnects"), clinic)
        kind = str(line.get("device", "")).partition(":")[0]  # what a clinic says becomes no label unseen
        out.add("embryofl_clinic_device_info", 1, clinic, kind if kind in ("cpu", "cuda") else "other")


def _quality(out: Families, run: RunHistory) -> None:
    for (split, clinic, day), line in sorted(run.quality.items()):
        labels = (clinic, split, day)
        if clinic == POOLED and day == ALL_DAYS:
            out.add("embryofl_model_round", line["round"], split)
        out.add("embryofl_model_embryos", line["n"], *labels)
        out.add("embryofl_model_positives", line["positives"], *labels)
        out.add("embryofl_model_withheld", line["withheld"], *labels)
        for figure in _FIGURES:
            out.add(f"embryofl_model_{figure}", line[figure], *labels)
        out.add("embryofl_model_auroc_error", line["auroc_se"], *labels)
        if (split, clinic, day) in run.best:
            auroc, round_ = run.best[split, clinic, day]
            out.add("embryofl_model_auroc_best", auroc, *labels)
            out.add("embryofl_model_auroc_best_round", round_, *labels)
    for split, by_clinic in run.sums.items():
        for clinic, sums in sorted(by_clinic.items()):
            _at_thresholds(out, sums, (clinic, split))
    if POOLED in run.sums.get("validation", {}):
        _calibration(out, run.sums["validation"][POOLED])


def _at_thresholds(out: Families, sums: ScoreSums, labels: tuple[str, str]) -> None:
    for day in (None, *sorted(sums.days)):
        below = np.cumsum(sums.pooled(day).histogram, axis=1)  # (2, BINS)
        negatives, positives = below[:, -1].tolist()
        for threshold in THRESHOLDS:
            left_out = below[:, nearest_edge(threshold) - 1].tolist()  # of each class, as in `ScoreSums.summary`
            more = (ALL_DAYS if day is None else str(day), f"{threshold:g}")
            if positives:
                out.add("embryofl_model_sensitivity", 1 - left_out[1] / positives, *labels, *more)
            if negatives:
                out.add("embryofl_model_specificity", left_out[0] / negatives, *labels, *more)


def _calibration(out: Families, sums: ScoreSums) -> None:
    """The bins of the expected calibration error (`metrics._calibration_error`), one by one; empty ones are left out."""
    histogram = sums.pooled().histogram  # (2, BINS)
    coarse = np.minimum((CENTRES * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    for number in range(CALIBRATION_BINS):
        here = histogram[:, coarse == number]
        count = int(here.sum())
        name = f"{number / CALIBRATION_BINS:.1f}-{(number + 1) / CALIBRATION_BINS:.1f}"
        out.add("embryofl_model_calibration_embryos", count, name)
        if count:
            out.add("embryofl_model_calibration_score", float(here.sum(0) @ CENTRES[coarse == number]) / count, name)
            out.add("embryofl_model_calibration_frequency", int(here[1].sum()) / count, name)
