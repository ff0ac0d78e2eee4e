"""Metrics that change by the second: the hub itself, the round under way, and which clinics are online."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography import x509

from embryofl.exposition import Families
from embryofl.membership import MAX_COUNT
from embryofl.messages import PROTOCOL
from embryofl.metric_labels import CLINIC_STATES, ROUND_PHASES, RUN_STATES
from embryofl_server.federation.terms import FIRST_DEADLINE_S
from embryofl_server.members.contact import Contact
from embryofl_server.members.store import Clinic
from embryofl_server.monitor.overview import Moment
from embryofl_server.runs.jsonlines import JsonLines
from embryofl_server.runs.view import RunView

_CERTIFICATES = {
    "ca": "ca.crt",
    "internal": "internal.crt",
    "server": "server.crt",
    "superlink": "superlink/superlink.crt",
    "gateway": "gateway/gateway.crt",
}
_DAYS = {str(day) for day in range(15)}


class HubItself:
    """The hub's own metrics: starts, disk, certificates, tunnel.

    Parameters
    ----------
    state_dir : Path
        With the audit log and the folder `identity`.
    contact : Contact
    """

    def __init__(self, state_dir: Path, contact: Contact) -> None:
        self._folder, self._contact, self._audit = state_dir, contact, JsonLines(state_dir / "audit.jsonl")
        self._starts, self._started = 0, 0.0
        self._expiry: dict[Path, tuple[int, float]] = {}

    def add(self, out: Families) -> None:
        """Add them."""
        self._read_starts()
        disk, tunnel = shutil.disk_usage(self._folder), self._contact.tunnel()
        info = {"version": version("embryofl-server"), "protocol": str(PROTOCOL)}
        out.gauge("embryofl_hub_info", "The hub's version; always 1.", 1, **info)
        text = "Starts of the hub since it was made (from the audit log)."
        out.counter("embryofl_hub_starts_total", text, self._starts)
        up = tunnel is None or tunnel["up"]
        out.gauges(
            ("embryofl_hub_start_timestamp_seconds", "Unix time of the hub's last start.", self._started),
            ("embryofl_hub_disk_free_bytes", "Free space where the hub's state is.", disk.free),
            ("embryofl_hub_disk_size_bytes", "Size of the disk that holds the hub's state.", disk.total),
            ("embryofl_hub_tunnel_up", "1 when the tunnel from outside is open, or none is wanted.", up),
        )
        for name, file in _CERTIFICATES.items():
            out.gauge(
                "embryofl_hub_certificate_expiry_timestamp_seconds",
                "Unix time at which a certificate ends.",
                self._expires(self._folder / "identity" / file),
                certificate=name,
            )

    def _read_starts(self) -> None:
        anew, lines = self._audit.read()
        starts = [float(line["time"]) for line in lines if line.get("event") == "hub_started"]
        self._starts = (0 if anew else self._starts) + len(starts)
        self._started = starts[-1] if starts else self._started

    def _expires(self, path: Path) -> float | None:
        if not path.exists():
            return None
        changed = path.stat().st_mtime_ns
        if self._expiry.get(path, (0, 0.0))[0] != changed:
            end = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
            self._expiry[path] = (changed, end)
        return self._expiry[path][1]


def add_round(out: Families, now: Moment) -> None:
    """The run that people mean, and its round."""
    run, progress, phase = now.run, now.progress, now.progress["phase"]
    settings, complete = (run.settings, run.state["round"]) if run else (None, 0)
    asking, waiting = phase in ("training", "evaluating"), progress["waiting"]
    text = "1 for the state of the newest run, 0 for the others."
    out.one_of("embryofl_run_state", text, "state", RUN_STATES, now.run_state)
    text = "1 for the phase of the round under way, 0 for the others."
    out.one_of("embryofl_round_phase", text, "phase", ROUND_PHASES, phase)
    if run and settings:
        info = {"run": run.name, "model": settings.model, "strategy": settings.strategy}
        out.gauge("embryofl_run_info", "The newest run; always 1.", 1, **info)
    wanted, met, possible = _quorum(run, progress)
    out.gauges(
        ("embryofl_run_rounds", "Rounds the newest run is to have.", settings.rounds if settings else 0),
        ("embryofl_run_rounds_done", "Rounds of the newest run that are complete.", complete),
        ("embryofl_run_deadline_seconds", "The newest run's round_deadline_s.", _deadline_s(run, progress)),
        ("embryofl_run_grace_seconds", "The newest run's grace_s.", settings.grace_s if settings else 0),
        (
            "embryofl_run_progress_timestamp_seconds",
            "Unix time at which the newest run last moved on: a phase, an answer, a round.",
            _moved(run, progress) if run else None,
        ),
        ("embryofl_round", "Number of the round under way.", (phase != "idle" and progress["round"]) or complete),
        (
            "embryofl_round_began_timestamp_seconds",
            "Unix time at which this phase began; 0 without a run.",
            progress["round_began"] if phase != "idle" else 0,
        ),
        (
            "embryofl_round_deadline_timestamp_seconds",
            "Unix time of the round's deadline; 0 when there is none.",
            progress["deadline"] if asking else 0,
        ),
        (
            "embryofl_round_wait_end_timestamp_seconds",
            "Unix time until which the hub waits for clinics; 0 when it waits for none.",
            waiting["until"] if waiting else 0,
        ),
        (
            "embryofl_round_waiting_for",
            "Number of clinics the hub is waiting for.",
            len(waiting["for_"]) if waiting else 0,
        ),
        ("embryofl_round_quorum_wanted", "Answers (while waiting: clinics online) that the round needs.", wanted),
        ("embryofl_round_quorum_met", "Answers (while waiting: clinics online) that it has.", met),
        ("embryofl_round_quorum_possible", "Answers it has or can still get from clinics that are online.", possible),
    )


def _quorum(run: RunView | None, progress: dict[str, Any]) -> tuple[int, int, int]:
    """Wanted, met, possible."""
    states = [c["state"] for c in progress["clinics"].values()]
    if run and progress["phase"] == "waiting":
        return run.settings.min_clinics, states.count("online"), states.count("online")
    if progress["phase"] in ("training", "evaluating"):
        met = states.count("done")
        return progress["needed"], met, met + states.count("training") + states.count("evaluating")
    return 0, 0, 0


def _deadline_s(run: RunView | None, progress: dict[str, Any]) -> float:
    """The deadline that is set; an automatic one is that of the newest round."""
    if run is None:
        return 0.0
    fixed = run.settings.round_deadline_s
    return fixed if fixed != "auto" else progress["deadline_s"] or FIRST_DEADLINE_S


def _moved(run: RunView, progress: dict[str, Any]) -> float:
    """When the run last moved on."""
    moments: list[float] = [run.started, run.state["since"], run.last_round.get("time", 0.0), progress["round_began"]]
    moments += [c["since"] for c in progress["clinics"].values() if c["state"] == "done"]
    return max(moments)


def add_clinics(out: Families, now: Moment) -> None:
    """Which clinics are online, and which of them the hub waits for."""
    members, waiting = now.members, now.progress["waiting"]
    awaited = waiting["for_"] if waiting else ()
    online = sum(c.online for c in members.values())
    out.gauges(
        ("embryofl_hub_superlink_up", "1 when the SuperLink answers.", now.superlink_up),
        ("embryofl_clinics_enrolled", "Clinics that belong to the federation.", len(members)),
        ("embryofl_clinics_online", "Enrolled clinics that are connected.", online),
    )
    for name, c in members.items():
        text = "1 for a clinic's state, 0 for the others."
        out.one_of("embryofl_clinic_state", text, "state", CLINIC_STATES, c.state, clinic=name)
        seen = c.last_seen or c.clinic.enrolled
        out.gauges(
            ("embryofl_clinic_enrolled_timestamp_seconds", "Unix time at which a clinic joined.", c.clinic.enrolled),
            ("embryofl_clinic_last_seen_timestamp_seconds", "Unix time at which a clinic was last connected.", seen),
            ("embryofl_clinic_awaited", "1 when the hub waits for this clinic, 0 otherwise.", name in awaited),
            (
                "embryofl_clinic_sessions",
                "2 when a clinic's key was used in two places at once in the last ten minutes, 1 otherwise.",
                2 if c.twice else 1,
            ),
            clinic=name,
        )
        _add_data_counts(out, c.clinic)


def _add_data_counts(out: Families, clinic: Clinic) -> None:
    """What a clinic reported of its data when it joined: only numbers, and only under labels known here."""
    patients, counts = clinic.summary.get("patients"), clinic.summary.get("counts")
    if isinstance(patients, int) and patients <= MAX_COUNT:
        text = "Patients in a clinic's data, as told when it joined."
        out.gauge("embryofl_clinic_patients", text, patients, clinic=clinic.name)
    for day, by_label in counts.items() if isinstance(counts, dict) else ():
        for label in ("0", "1", "unlabelled"):
            count = by_label.get(label) if isinstance(by_label, dict) else None
            if day in _DAYS and isinstance(count, int) and count <= MAX_COUNT:
                out.gauge(
                    "embryofl_clinic_embryos",
                    "Embryos in a clinic's data by day and label, as told when it joined; counts below 5 are not told.",
                    count,
                    clinic=clinic.name,
                    day=day,
                    label=label,
                )
