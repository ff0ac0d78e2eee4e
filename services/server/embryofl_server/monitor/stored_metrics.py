"""Metrics that change only when a run's files do: counters over all runs, and the model of the run people mean."""

from collections.abc import Iterable

import numpy as np

from embryofl.exposition import Families
from embryofl.metric_labels import ALL_DAYS, CLINIC_PHASES, POOLED, ROUND_BUCKETS_S, THRESHOLDS, UPDATE_RESULTS
from embryofl.metrics import CALIBRATION_BINS, CENTRES, ScoreSums, nearest_edge
from embryofl_server.runs.log import OVER
from embryofl_server.runs.tallies import Counts
from embryofl_server.runs.view import RunView

RUNS_SHOWN = 20


def stored_metrics(runs: list[RunView], current: RunView | None, enrolled: Iterable[str]) -> Families:
    """All of them. Clinics that have not done anything yet count 0."""
    out, counts = Families(), Counts()
    rejected_at: dict[str, tuple[float, str]] = {}
    for run in runs:
        counts.update(run.counts())
        rejected_at.update(run.rejected_at())
    _add_runs(out, runs)
    _add_rounds(out, counts, current)
    _add_replies(out, counts, enrolled)
    for clinic, (at, reason) in sorted(rejected_at.items()):
        text = "Unix time of a clinic's last answer that was not taken."
        out.gauge("embryofl_clinic_refusal_timestamp_seconds", text, at, clinic=clinic, reason=reason)
    if current:
        _add_last_replies(out, current)
        _add_quality(out, current)
        _add_sums(out, current)
    return out


def _add_runs(out: Families, runs: list[RunView]) -> None:
    states = [run.state["state"] for run in runs]
    for state in OVER:
        text = "Runs that are over, by how they ended."
        out.counter("embryofl_runs_total", text, states.count(state), state=state)
    for run in runs[-RUNS_SHOWN:]:
        text = "Unix time at which a run began; the newest 20."
        out.gauge("embryofl_run_started_timestamp_seconds", text, run.started, run=run.name)


def _add_rounds(out: Families, counts: Counts, current: RunView | None) -> None:
    out.counter("embryofl_rounds_total", "Complete rounds of all runs.", counts["rounds",])
    text = "Times a run was taken up again after an interruption."
    out.counter("embryofl_run_resumptions_total", text, counts["resumptions",])
    text = "Times the SuperLink was lost during a run."
    out.counter("embryofl_hub_link_losses_total", text, counts["link_losses",])
    text, total_s = "Durations of the complete rounds of all runs.", counts["round_seconds",]
    buckets = [counts["round_bucket", str(number)] for number in range(len(ROUND_BUCKETS_S) + 1)]
    out.histogram("embryofl_round_duration_seconds", text, ROUND_BUCKETS_S, buckets, total_s)
    record = current.record if current else {}
    if current and current.last_round and record.get("seconds"):
        clinics = float(record["seconds"]["clinics"])
        hub = max(0.0, float(current.last_round["seconds"]) - clinics)
        for phase, seconds in (("clinics", clinics), ("aggregate", hub)):
            out.gauge(
                "embryofl_round_last_duration_seconds",
                "Duration of the last complete round: its clinics' part, and the hub's aggregation and saving.",
                seconds,
                phase=phase,
            )
    if record:
        text = "Unix time of the newest checkpoint of the newest run."
        out.gauge("embryofl_checkpoint_timestamp_seconds", text, record["written"])
        out.gauge("embryofl_checkpoint_size_bytes", "Size of the newest checkpoint's weights.", record["size"])


def _add_replies(out: Families, counts: Counts, enrolled: Iterable[str]) -> None:
    for clinic in enrolled:
        for result in UPDATE_RESULTS:
            text, replies = "Answers by what became of them.", counts["results", clinic, result]
            out.counter("embryofl_updates_total", text, replies, clinic=clinic, result=result)
        for phase in CLINIC_PHASES:
            text, seconds = "The same over all accepted answers.", counts["phase_seconds", clinic, phase]
            out.counter("embryofl_clinic_phase_seconds_total", text, seconds, clinic=clinic, phase=phase)
        text = "Images trained on, over all accepted answers (epochs count)."
        out.counter("embryofl_clinic_images_total", text, counts["images", clinic], clinic=clinic)
        for direction in ("down", "up"):
            text = (
                "Bytes of models and of what steers a clinic's steps (down), and of updates (up), in accepted answers."
            )
            labels = {"clinic": clinic, "direction": direction}
            out.counter("embryofl_clinic_transferred_bytes_total", text, counts[direction, clinic], **labels)
    for key in sorted(key for key in counts if key[0] == "reasons"):
        text = "Answers that were not taken, by reason."
        out.counter("embryofl_updates_refused_total", text, counts[key], clinic=key[1], reason=key[2])


def _add_last_replies(out: Families, run: RunView) -> None:
    for clinic, line in sorted(run.training().items()):
        seconds = line.get("seconds") or {}
        trained = line["n"] * run.settings.local_epochs
        out.gauges(
            ("embryofl_clinic_examples", "Embryos the clinic trained on in its last accepted update.", line["n"]),
            ("embryofl_clinic_train_loss", "Mean training loss (nats) of the last accepted update.", line["loss"]),
            (
                "embryofl_clinic_update_norm",
                "Distance of the last accepted update from the model it began with.",
                line["norm"],
            ),
            (
                "embryofl_clinic_images_per_second",
                "Images trained on per second in the last accepted answer.",
                trained / seconds["train"] if seconds.get("train") else None,
            ),
            (
                "embryofl_clinic_loading_last_seconds",
                "Time of its last training that went into loading images.",
                seconds.get("loading"),
            ),
            (
                "embryofl_clinic_update_distance",
                "Distance of the last accepted update from the aggregate of its round.",
                line.get("distance"),
            ),
            (
                "embryofl_clinic_update_share",
                "Share of the last accepted update in the aggregate of its round, where the strategy has shares.",
                line.get("share"),
            ),
            (
                "embryofl_clinic_update_scale",
                "What the last accepted update was shortened to, as a share of its length; 1 when it was not.",
                line.get("scale", 1),
            ),
            (
                "embryofl_clinic_memory_bytes",
                "Memory of the clinic's device (without one, of its process) in its last answer.",
                line.get("memory_bytes"),
            ),
            (
                "embryofl_clinic_reconnects",
                "Times the clinic's process lost the hub and found it again, as of its last answer.",
                line.get("reconnects"),
            ),
            clinic=clinic,
        )
        for phase in CLINIC_PHASES:
            text, its = "Time a clinic spent on parts of its last accepted answer.", seconds.get(phase)
            out.gauge("embryofl_clinic_phase_last_seconds", text, its, clinic=clinic, phase=phase)
        kind = str(line.get("device", "")).partition(":")[0]  # what a clinic reports becomes no label unchecked
        text = "Device the clinic last trained on (cpu, cuda or other); always 1."
        device = kind if kind in ("cpu", "cuda") else "other"
        out.gauge("embryofl_clinic_device_info", text, 1, clinic=clinic, device=device)


def _add_quality(out: Families, run: RunView) -> None:
    best = run.best()
    for (split, clinic, day), line in sorted(run.results_by_split().items()):
        labels = {"clinic": clinic, "split": split, "day": day}
        if clinic == POOLED and day == ALL_DAYS:
            out.gauge(
                "embryofl_model_round",
                "Round of the global model that the figures of a split belong to.",
                line["round"],
                split=split,
            )
        highest, its_round = best.get((split, clinic, day), (None, None))
        out.gauges(
            ("embryofl_model_embryos", "Embryos that a figure rests on.", line["n"]),
            ("embryofl_model_positives", "Embryos of class 1 among them.", line["positives"]),
            (
                "embryofl_model_withheld",
                "Clinics missing in a figure because one of their classes is too small to be told.",
                line["withheld"],
            ),
            ("embryofl_model_loss", "Mean log loss (nats).", line["loss"]),
            ("embryofl_model_auroc", "Area under the ROC curve.", line["auroc"]),
            (
                "embryofl_model_auroc_error",
                "Standard error of the AUROC (embryos taken for independent).",
                line["auroc_se"],
            ),
            ("embryofl_model_auroc_best", "Highest AUROC of the newest run so far.", highest),
            ("embryofl_model_auroc_best_round", "Round of the model that had it.", its_round),
            ("embryofl_model_auprc", "Average precision.", line["auprc"]),
            ("embryofl_model_brier", "Brier score: mean squared error of the scores.", line["brier"]),
            ("embryofl_model_ece", "Expected calibration error over ten bins.", line["ece"]),
            **labels,
        )


def _add_sums(out: Families, run: RunView) -> None:
    sums = run.sums()
    for split, by_clinic in sums.items():
        for clinic, its_sums in sorted(by_clinic.items()):
            _add_thresholds(out, its_sums, clinic=clinic, split=split)
    if POOLED in sums.get("validation", {}):
        _add_calibration(out, sums["validation"][POOLED])


def _add_thresholds(out: Families, sums: ScoreSums, **labels: str) -> None:
    for day in (None, *sorted(sums.days)):
        below = np.cumsum(sums.pooled(day).histogram, axis=1)  # (2, BINS)
        negatives, positives = below[:, -1].tolist()
        for threshold in THRESHOLDS:
            excluded = below[:, nearest_edge(threshold) - 1].tolist()  # of each class, as in `ScoreSums.summary`
            labels |= {"day": ALL_DAYS if day is None else str(day), "threshold": f"{threshold:g}"}
            text, share = "Sensitivity of 'score at or above the threshold'.", 1 - excluded[1] / max(1, positives)
            out.gauge("embryofl_model_sensitivity", text, share if positives else None, **labels)
            text, share = "Specificity of 'score at or above the threshold'.", excluded[0] / max(1, negatives)
            out.gauge("embryofl_model_specificity", text, share if negatives else None, **labels)


def _add_calibration(out: Families, sums: ScoreSums) -> None:
    """The bins of the expected calibration error (`metrics._calibration_error`), one by one; empty ones are left out."""
    histogram = sums.pooled().histogram  # (2, BINS)
    coarse = np.minimum((CENTRES * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    for number in range(CALIBRATION_BINS):
        inside = histogram[:, coarse == number]
        count = int(inside.sum())
        mean = float(inside.sum(0) @ CENTRES[coarse == number]) / count if count else None
        name = f"{number / CALIBRATION_BINS:.1f}-{(number + 1) / CALIBRATION_BINS:.1f}"
        share = int(inside[1].sum()) / count if count else None
        text = "Pooled validation embryos: mean score in one of ten bins, named by its edges."
        out.gauges(
            ("embryofl_model_calibration_score", text, mean),
            ("embryofl_model_calibration_frequency", "Share of class 1 in that bin.", share),
            ("embryofl_model_calibration_embryos", "Embryos in that bin.", count),
            bin=name,
        )
