"""What needs a look, for the console: the conditions of prometheus/rules/alerts.yml that one moment shows, under the same
names. Prometheus may be missing; when it is there, it adds those that need a history, and waits before it alerts."""

import shutil
import time
from pathlib import Path
from typing import NamedTuple

from embryofl.states import UNDER_WAY
from embryofl_server.members.contact import Contact
from embryofl_server.members.identity import HubIdentity
from embryofl_server.monitor.live_metrics import CERTIFICATES, moved, quorum
from embryofl_server.monitor.overview import Moment
from embryofl_server.runs.metric_labels import ALL_DAYS, POOLED

RECENT_S, STILL_S, SLOW_S = 600.0, 1800.0, 60.0
EXPIRY_DAYS = {name: 10 if name == "gateway" else 30 for name in CERTIFICATES}  # the gateway's lasts 30 days
DISK_FREE, AUROC_FALL = 0.1, 0.05


class Alert(NamedTuple):
    """A condition that holds, the clinic that it is about ("": none), and what it says of it in a word or two."""

    alert: str
    clinic: str = ""
    detail: str = ""


class Alerts:
    """Those that fire.

    Parameters
    ----------
    state_dir : Path
        Whose disk is looked at.
    identity : HubIdentity
    contact : Contact
    """

    def __init__(self, state_dir: Path, identity: HubIdentity, contact: Contact) -> None:
        self._folder, self._identity, self._contact = state_dir, identity, contact
        self._slow: tuple[float, list[Alert]] = (-SLOW_S, [])  # files are looked at once a minute

    def firing(self, now: Moment) -> list[Alert]:
        """Those of this moment, those that stop a run first."""
        found = [] if now.superlink_up else [Alert("SuperLinkAway")]
        found += [Alert("KeyUsedTwice", name) for name, c in now.members.items() if c.twice]
        found += _of_run(now) if now.run_state in UNDER_WAY else []
        found += [Alert("ClinicOffline", name) for name, c in now.members.items() if c.state == "offline"]
        tunnel = self._contact.tunnel()
        found += [Alert("TunnelDown")] if tunnel and not tunnel["up"] else []
        found += [Alert("SignerDown")] if self._identity.signer.trouble() else []
        if time.monotonic() - self._slow[0] >= SLOW_S:
            self._slow = time.monotonic(), self._of_files()
        return found + self._slow[1]

    def _of_files(self) -> list[Alert]:
        disk, now = shutil.disk_usage(self._folder), time.time()
        full = [Alert("DiskNearlyFull", detail=f"{100 * disk.free / disk.total:.0f} %")]
        found = full if disk.free < DISK_FREE * disk.total else []
        return found + [
            Alert("CertificateExpires", detail=name)
            for name, days in EXPIRY_DAYS.items()
            if self._identity.expires(CERTIFICATES[name]) < now + days * 86_400
        ]


def _of_run(now: Moment) -> list[Alert]:
    """Those of a run that is under way."""
    run, progress, clock = now.run, now.progress, time.time()
    if run is None:
        return []
    wanted, _, possible = quorum(run, progress)
    pace, validation = run.pace(1), ("validation", POOLED, ALL_DAYS)
    newest, best = run.newest_lines().get(validation, {}).get("auroc"), run.best().get(validation)
    found = [Alert("QuorumNotMet", detail=f"{possible} / {wanted}")] if possible < wanted else []
    found += [Alert("RoundOverdue")] if 0 < progress["deadline"] < clock else []
    found += (
        [Alert("NoProgress")] if clock - moved(run, progress) > max(STILL_S, 3 * (pace.round_s if pace else 0)) else []
    )
    rejected = run.rejected_at().items()
    found += [Alert("UpdateRefused", name, why) for name, (at, why) in rejected if clock - at < RECENT_S]
    found += [Alert("ClinicSuspended", name) for name, c in now.members.items() if c.state == "suspended"]
    fall = best[0] - newest if best and newest is not None else 0.0
    return found + ([Alert("AurocFallen", detail=f"{fall:.3f}")] if fall > AUROC_FALL else [])
