"""Every metric that EmbryoFL exports: name, kind, labels, meaning. Both exporters build theirs from these tables.

Names start with `embryofl_`, units are base units and part of the name. What the hub knows of a clinic is called
`embryofl_clinic_*`; what a clinic's own process exports is called `embryofl_trainer_*`. Labels are bounded: a clinic's
name, and words and numbers from the fixed sets below. Nothing about a patient or an image is ever a label.
"""

from dataclasses import dataclass
from typing import Literal

from embryofl import states

PREFIX = "embryofl_"

CLINIC_STATES = tuple(states.CLINIC)
RUN_STATES = ("none", *states.RUN)
ROUND_PHASES = tuple(states.PHASE)
CLINIC_PHASES = ("download", "evaluate", "train", "upload")
TRAINER_PHASES = ("idle", *CLINIC_PHASES)
UPDATE_RESULTS = ("accepted", "refused", "late", "failed")
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Thresholds at which sensitivity and specificity are exported."""
ROUND_BUCKETS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
POOLED = "pooled"
"""Takes a clinic's place in the label `clinic` where a figure is over all clinics together."""
ALL_DAYS = "all"

Kind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric. `labels` in the order in which values are given."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def _table(*rows: tuple[str, Kind, tuple[str, ...], str]) -> dict[str, Metric]:
    return {name: Metric(name, kind, text, labels) for name, kind, labels, text in rows}


_CLINIC, _MODEL = ("clinic",), ("clinic", "split", "day")

HUB = _table(
    # -- the hub itself ---------------------------------------------------------------------------------------------
    ("embryofl_hub_info", "gauge", ("version", "protocol"), "The hub's version; always 1."),
    ("embryofl_hub_starts_total", "counter", (), "Starts of the hub since it was made (from the audit log)."),
    ("embryofl_hub_start_timestamp_seconds", "gauge", (), "Unix time of the hub's last start."),
    ("embryofl_hub_disk_free_bytes", "gauge", (), "Free space where the hub's state is."),
    ("embryofl_hub_disk_size_bytes", "gauge", (), "Size of the disk that holds the hub's state."),
    ("embryofl_hub_superlink_up", "gauge", (), "1 when the SuperLink answers."),
    ("embryofl_hub_link_losses_total", "counter", (), "Times the SuperLink was lost during a run."),
    (
        "embryofl_hub_certificate_expiry_timestamp_seconds",
        "gauge",
        ("certificate",),
        "Unix time at which a certificate ends.",
    ),
    ("embryofl_hub_tunnel_up", "gauge", (), "1 when the tunnel from outside is open, or none is wanted."),
    # -- runs -------------------------------------------------------------------------------------------------------
    ("embryofl_runs_total", "counter", ("state",), "Runs that are over, by how they ended."),
    ("embryofl_run_info", "gauge", ("run", "model", "strategy"), "The newest run; always 1."),
    ("embryofl_run_state", "gauge", ("state",), "1 for the state of the newest run, 0 for the others."),
    ("embryofl_run_started_timestamp_seconds", "gauge", ("run",), "Unix time at which a run began; the newest 20."),
    (
        "embryofl_run_progress_timestamp_seconds",
        "gauge",
        (),
        "Unix time at which the newest run last moved on: a phase, an answer, a round.",
    ),
    ("embryofl_run_resumptions_total", "counter", (), "Times a run was taken up again after an interruption."),
    ("embryofl_run_rounds", "gauge", (), "Rounds the newest run is to have."),
    ("embryofl_run_rounds_done", "gauge", (), "Rounds of the newest run that are complete."),
    ("embryofl_run_deadline_seconds", "gauge", (), "The newest run's round_deadline_s."),
    ("embryofl_run_grace_seconds", "gauge", (), "The newest run's grace_s."),
    ("embryofl_checkpoint_timestamp_seconds", "gauge", (), "Unix time of the newest checkpoint of the newest run."),
    ("embryofl_checkpoint_size_bytes", "gauge", (), "Size of the newest checkpoint's weights."),
    # -- rounds -----------------------------------------------------------------------------------------------------
    ("embryofl_rounds_total", "counter", (), "Complete rounds of all runs."),
    ("embryofl_round", "gauge", (), "Number of the round under way."),
    ("embryofl_round_phase", "gauge", ("phase",), "1 for the phase of the round under way, 0 for the others."),
    ("embryofl_round_began_timestamp_seconds", "gauge", (), "Unix time at which this phase began; 0 without a run."),
    (
        "embryofl_round_deadline_timestamp_seconds",
        "gauge",
        (),
        "Unix time of the round's deadline; 0 when there is none.",
    ),
    (
        "embryofl_round_wait_end_timestamp_seconds",
        "gauge",
        (),
        "Unix time until which the hub waits for clinics; 0 when it waits for none.",
    ),
    ("embryofl_round_waiting_for", "gauge", (), "Number of clinics the hub is waiting for."),
    ("embryofl_round_quorum_wanted", "gauge", (), "Answers (while waiting: clinics online) that the round needs."),
    ("embryofl_round_quorum_met", "gauge", (), "Answers (while waiting: clinics online) that it has."),
    ("embryofl_round_quorum_possible", "gauge", (), "Answers it has or can still get from clinics that are online."),
    ("embryofl_round_duration_seconds", "histogram", (), "Durations of the complete rounds of all runs."),
    (
        "embryofl_round_last_duration_seconds",
        "gauge",
        ("phase",),
        "Duration of the last complete round: its clinics' part, and the hub's aggregation and saving.",
    ),
    # -- clinics ----------------------------------------------------------------------------------------------------
    ("embryofl_clinics_enrolled", "gauge", (), "Clinics that belong to the federation."),
    ("embryofl_clinics_online", "gauge", (), "Enrolled clinics that are connected."),
    ("embryofl_clinic_state", "gauge", ("clinic", "state"), "1 for a clinic's state, 0 for the others."),
    ("embryofl_clinic_awaited", "gauge", _CLINIC, "1 when the hub waits for this clinic, 0 otherwise."),
    (
        "embryofl_clinic_sessions",
        "gauge",
        _CLINIC,
        "2 when a clinic's key was used in two places at once in the last ten minutes, 1 otherwise.",
    ),
    ("embryofl_clinic_enrolled_timestamp_seconds", "gauge", _CLINIC, "Unix time at which a clinic joined."),
    (
        "embryofl_clinic_last_seen_timestamp_seconds",
        "gauge",
        _CLINIC,
        "Unix time at which a clinic was last connected.",
    ),
    ("embryofl_clinic_patients", "gauge", _CLINIC, "Patients in a clinic's data, as told when it joined."),
    (
        "embryofl_clinic_embryos",
        "gauge",
        ("clinic", "day", "label"),
        "Embryos in a clinic's data by day and label, as told when it joined; counts below 5 are not told.",
    ),
    ("embryofl_clinic_examples", "gauge", _CLINIC, "Embryos the clinic trained on in its last accepted update."),
    ("embryofl_clinic_train_loss", "gauge", _CLINIC, "Mean training loss (nats) of the last accepted update."),
    (
        "embryofl_clinic_update_norm",
        "gauge",
        _CLINIC,
        "Distance of the last accepted update from the model it began with.",
    ),
    (
        "embryofl_clinic_update_distance",
        "gauge",
        _CLINIC,
        "Distance of the last accepted update from the aggregate of its round.",
    ),
    (
        "embryofl_clinic_update_share",
        "gauge",
        _CLINIC,
        "Share of the last accepted update in the aggregate of its round, where the strategy has shares.",
    ),
    (
        "embryofl_clinic_update_scale",
        "gauge",
        _CLINIC,
        "What the last accepted update was shortened to, as a share of its length; 1 when it was not.",
    ),
    (
        "embryofl_clinic_phase_last_seconds",
        "gauge",
        ("clinic", "phase"),
        "Time a clinic spent on parts of its last accepted answer.",
    ),
    ("embryofl_clinic_phase_seconds_total", "counter", ("clinic", "phase"), "The same over all accepted answers."),
    (
        "embryofl_clinic_loading_last_seconds",
        "gauge",
        _CLINIC,
        "Time of its last training that went into loading images.",
    ),
    (
        "embryofl_clinic_images_per_second",
        "gauge",
        _CLINIC,
        "Images trained on per second in the last accepted answer.",
    ),
    (
        "embryofl_clinic_images_total",
        "counter",
        _CLINIC,
        "Images trained on, over all accepted answers (epochs count).",
    ),
    (
        "embryofl_clinic_memory_bytes",
        "gauge",
        _CLINIC,
        "Memory of the clinic's device (without one, of its process) in its last answer.",
    ),
    (
        "embryofl_clinic_reconnects",
        "gauge",
        _CLINIC,
        "Times the clinic's process lost the hub and found it again, as of its last answer.",
    ),
    (
        "embryofl_clinic_device_info",
        "gauge",
        ("clinic", "device"),
        "Device the clinic last trained on (cpu, cuda or other); always 1.",
    ),
    (
        "embryofl_clinic_transferred_bytes_total",
        "counter",
        ("clinic", "direction"),
        "Bytes of models and of what steers a clinic's steps (down), and of updates (up), in accepted answers.",
    ),
    ("embryofl_updates_total", "counter", ("clinic", "result"), "Answers by what became of them."),
    ("embryofl_updates_refused_total", "counter", ("clinic", "reason"), "Answers that were not taken, by reason."),
    (
        "embryofl_clinic_refusal_timestamp_seconds",
        "gauge",
        ("clinic", "reason"),
        "Unix time of a clinic's last answer that was not taken.",
    ),
    # -- the global model -------------------------------------------------------------------------------------------
    ("embryofl_model_round", "gauge", ("split",), "Round of the global model that the figures of a split belong to."),
    ("embryofl_model_embryos", "gauge", _MODEL, "Embryos that a figure rests on."),
    ("embryofl_model_positives", "gauge", _MODEL, "Embryos of class 1 among them."),
    (
        "embryofl_model_withheld",
        "gauge",
        _MODEL,
        "Clinics missing in a figure because one of their classes is too small to be told.",
    ),
    ("embryofl_model_loss", "gauge", _MODEL, "Mean log loss (nats)."),
    ("embryofl_model_auroc", "gauge", _MODEL, "Area under the ROC curve."),
    ("embryofl_model_auroc_error", "gauge", _MODEL, "Standard error of the AUROC (embryos taken for independent)."),
    ("embryofl_model_auroc_best", "gauge", _MODEL, "Highest AUROC of the newest run so far."),
    ("embryofl_model_auroc_best_round", "gauge", _MODEL, "Round of the model that had it."),
    ("embryofl_model_auprc", "gauge", _MODEL, "Average precision."),
    ("embryofl_model_brier", "gauge", _MODEL, "Brier score: mean squared error of the scores."),
    ("embryofl_model_ece", "gauge", _MODEL, "Expected calibration error over ten bins."),
    (
        "embryofl_model_sensitivity",
        "gauge",
        (*_MODEL, "threshold"),
        "Sensitivity of 'score at or above the threshold'.",
    ),
    (
        "embryofl_model_specificity",
        "gauge",
        (*_MODEL, "threshold"),
        "Specificity of 'score at or above the threshold'.",
    ),
    (
        "embryofl_model_calibration_score",
        "gauge",
        ("bin",),
        "Pooled validation embryos: mean score in one of ten bins, named by its edges.",
    ),
    ("embryofl_model_calibration_frequency", "gauge", ("bin",), "Share of class 1 in that bin."),
    ("embryofl_model_calibration_embryos", "gauge", ("bin",), "Embryos in that bin."),
)
"""Metrics of the hub's exporter."""

TRAINER = _table(
    (
        "embryofl_trainer_info",
        "gauge",
        ("clinic", "version", "protocol", "device"),
        "The clinic's version and device; always 1.",
    ),
    ("embryofl_trainer_connected", "gauge", _CLINIC, "1 while the hub can be reached."),
    ("embryofl_trainer_suspended", "gauge", _CLINIC, "1 while the hub has suspended this clinic."),
    ("embryofl_trainer_reconnects_total", "counter", _CLINIC, "Times the hub was lost and found again."),
    (
        "embryofl_trainer_contact_timestamp_seconds",
        "gauge",
        _CLINIC,
        "Unix time at which the hub last answered; 0 when never.",
    ),
    (
        "embryofl_trainer_answers_total",
        "counter",
        ("clinic", "result"),
        "Requests answered: trained, evaluated, refused, failed.",
    ),
    ("embryofl_trainer_phase", "gauge", ("clinic", "phase"), "1 for what the clinic does, 0 for the others."),
    ("embryofl_trainer_phase_seconds_total", "counter", ("clinic", "phase"), "Time spent on each part of the work."),
    ("embryofl_trainer_round", "gauge", _CLINIC, "Round last worked on."),
    ("embryofl_trainer_epoch", "gauge", _CLINIC, "Local epoch under way, from 1; 0 before the first training."),
    ("embryofl_trainer_epochs", "gauge", _CLINIC, "Local epochs of the round."),
    ("embryofl_trainer_batch", "gauge", _CLINIC, "Batches of the round that are done."),
    ("embryofl_trainer_batches", "gauge", _CLINIC, "Batches of the round."),
    ("embryofl_trainer_images_total", "counter", _CLINIC, "Images trained on."),
    ("embryofl_trainer_loading_seconds_total", "counter", _CLINIC, "Time of training that went into loading images."),
    ("embryofl_trainer_train_loss", "gauge", _CLINIC, "Mean training loss (nats) of the round so far."),
    ("embryofl_trainer_examples", "gauge", _CLINIC, "Embryos to train on."),
    (
        "embryofl_trainer_device_memory_bytes",
        "gauge",
        _CLINIC,
        "Memory of the GPU in use by this process; without a GPU, of the process.",
    ),
    (
        "embryofl_trainer_transferred_bytes_total",
        "counter",
        ("clinic", "direction"),
        "Bytes of models, and of what steers the steps, fetched (down), and of updates sent (up).",
    ),
)
"""Metrics of a clinic's exporter."""

PROCESS = (
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
)
"""From `prometheus_client.ProcessCollector`, in both exporters (Linux)."""
