"""Metrics that change by the second: the hub itself, the round under way, and which clinics are online."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from embryofl.exposition import Families, read_table
from embryofl.membership import MAX_COUNT, Releases
from embryofl.protocol import PROTOCOL
from embryofl_server.federation.round_limits import FIRST_DEADLINE_S
from embryofl_server.members.contact import Contact
from embryofl_server.members.identity import HubIdentity
from embryofl_server.members.store import Clinic
from embryofl_server.monitor.overview import Moment
from embryofl_server.runs.jsonlines import JsonLines
from embryofl_server.runs.metric_labels import CLINIC_STATES, ROUND_PHASES, RUN_STATES
from embryofl_server.runs.view import RunView

METRICS = read_table(Path(__file__).with_name("metrics.toml"))
CERTIFICATES = {
    "ca": "ca.crt",
    "internal": "internal.crt",
    "server": "server.crt",
    "superlink": "superlink/superlink.crt",
    "gateway": "gateway/gateway.crt",
}
RELEASES: tuple[str, ...] = get_args(Releases)
_DAYS = {str(day) for day in range(15)}


class HubItself:
    """The hub's own metrics: starts, disk, certificates, tunnel, signer.

    Parameters
    ----------
    state_dir : Path
        With the audit log.
    identity : HubIdentity
    contact : Contact
    """

    def __init__(self, state_dir: Path, identity: HubIdentity, contact: Contact) -> None:
        self._folder, self._identity, self._contact = state_dir, identity, contact
        self._audit, self._starts, self._started = JsonLines(state_dir / "audit.jsonl"), 0, 0.0

    def add(self, out: Families) -> None:
        """Add them."""
        restarted, lines = self._audit.read()
        starts = [float(line["time"]) for line in lines if line.get("event") == "hub_started"]
        self._starts = (0 if restarted else self._starts) + len(starts)
        self._started = starts[-1] if starts else self._started
        disk, tunnel = shutil.disk_usage(self._folder), self._contact.tunnel()
        values = {
            "embryofl_hub_starts_total": self._starts,
            "embryofl_hub_start_timestamp_seconds": self._started,
            "embryofl_hub_disk_free_bytes": disk.free,
            "embryofl_hub_disk_size_bytes": disk.total,
            "embryofl_hub_tunnel_up": tunnel is None or tunnel["up"],
            "embryofl_hub_signer_up": not self._identity.signer.trouble(),
        }
        out.add_all(values)
        out.add("embryofl_hub_info", 1, version("embryofl-server"), str(PROTOCOL))
        for name, file in CERTIFICATES.items():
            out.add("embryofl_hub_certificate_expiry_timestamp_seconds", self._identity.expires(file), name)


def add_round(out: Families, now: Moment) -> None:
    """The run that people mean, and its round."""
    run, progress, phase = now.run, now.progress, now.progress["phase"]
    settings, complete = (run.settings, run.state["round"]) if run else (None, 0)
    asking, waiting = phase in ("training", "evaluating"), progress["waiting"]
    wanted, met, possible = quorum(run, progress)
    values = {
        "embryofl_run_rounds": settings.rounds if settings else 0,
        "embryofl_run_rounds_done": complete,
        "embryofl_run_masked": bool(settings and settings.masked_weights),
        "embryofl_run_update_noise": settings.update_noise if settings else 0,
        "embryofl_run_deadline_seconds": _deadline_s(run, progress),
        "embryofl_run_grace_seconds": settings.grace_s if settings else 0,
        "embryofl_run_progress_timestamp_seconds": moved(run, progress) if run else None,
        "embryofl_round": (phase != "idle" and progress["round"]) or complete,
        "embryofl_round_began_timestamp_seconds": progress["round_began"] if phase != "idle" else 0,
        "embryofl_round_deadline_timestamp_seconds": progress["deadline"] if asking else 0,
        "embryofl_round_wait_end_timestamp_seconds": waiting["until"] if waiting else 0,
        "embryofl_round_waiting_for": len(waiting["for_"]) if waiting else 0,
        "embryofl_round_quorum_wanted": wanted,
        "embryofl_round_quorum_met": met,
        "embryofl_round_quorum_possible": possible,
    }
    out.add_all(values)
    out.one_of("embryofl_run_state", RUN_STATES, now.run_state)
    out.one_of("embryofl_round_phase", ROUND_PHASES, phase)
    if run and settings:
        out.add("embryofl_run_info", 1, run.name, settings.model, settings.strategy)


def quorum(run: RunView | None, progress: dict[str, Any]) -> tuple[int, int, int]:
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


def moved(run: RunView, progress: dict[str, Any]) -> float:
    """When the run last moved on."""
    moments: list[float] = [run.started, run.state["since"], run.last_round.get("time", 0.0), progress["round_began"]]
    moments += [c["since"] for c in progress["clinics"].values() if c["state"] == "done"]
    return max(moments)


def add_clinics(out: Families, now: Moment) -> None:
    """Which clinics are online, and which of them the hub waits for."""
    members, waiting = now.members, now.progress["waiting"]
    awaited = waiting["for_"] if waiting else ()
    out.add("embryofl_hub_superlink_up", now.superlink_up)
    out.add("embryofl_clinics_enrolled", len(members))
    out.add("embryofl_clinics_online", sum(c.online for c in members.values()))
    for name, c in members.items():
        values = {
            "embryofl_clinic_enrolled_timestamp_seconds": c.clinic.enrolled,
            "embryofl_clinic_last_seen_timestamp_seconds": c.last_seen or c.clinic.enrolled,
            "embryofl_clinic_awaited": name in awaited,
            "embryofl_clinic_sessions": 2 if c.twice else 1,
        }
        out.add_all(values, name)
        out.one_of("embryofl_clinic_state", CLINIC_STATES, c.state, name)
        out.one_of("embryofl_clinic_releases", RELEASES, c.clinic.metrics, name)
        _add_data_counts(out, c.clinic)


def _add_data_counts(out: Families, clinic: Clinic) -> None:
    """What a clinic reported of its data when it joined: only numbers, and only under labels known here."""
    patients, counts = clinic.summary.get("patients"), clinic.summary.get("counts")
    if isinstance(patients, int) and patients <= MAX_COUNT:
        out.add("embryofl_clinic_patients", patients, clinic.name)
    for day, by_label in counts.items() if isinstance(counts, dict) else ():
        for label in ("0", "1", "unlabelled"):
            count = by_label.get(label) if isinstance(by_label, dict) else None
            if day in _DAYS and isinstance(count, int) and count <= MAX_COUNT:
                out.add("embryofl_clinic_embryos", count, clinic.name, day, label)
