"""What the notifier may know of a hub (`/control/notices`): the conditions that people are told of, and no metric."""

from typing import NamedTuple

from embryofl_server.monitor.alerts import Alert
from embryofl_server.monitor.overview import Moment
from embryofl_server.runs.view import RunView

ENDED = {"finished": "RunFinished", "failed": "RunFailed"}
LAST_RUNS = 10


class Notice(NamedTuple):
    """What holds, which clinic, run or certificate it is about ("": the hub), and a word or two of it."""

    notice: str
    about: str = ""
    detail: str = ""


def notices(now: Moment, firing: list[Alert], runs: list[RunView]) -> list[Notice]:
    """Those of this moment.

    Parameters
    ----------
    now : Moment
    firing : list of Alert
        Of them, those of disk and certificates are told.
    runs : list of RunView
        Oldest first; the ends of the newest `LAST_RUNS` are listed for good.
    """
    found = [Notice("ClinicWaits", name) for name, c in now.clinics.items() if c.clinic.state == "waiting"]
    found += [Notice("ClinicSuspended", name) for name, c in now.members.items() if c.state == "suspended"]
    found += [Notice("RunWaits", now.run.name)] if now.run and now.run_state == "waiting" else []
    found += [Notice(a.alert, a.detail) for a in firing if a.alert == "CertificateExpires"]
    found += [Notice(a.alert, "", a.detail) for a in firing if a.alert == "DiskNearlyFull"]
    states = [(run.name, run.state["state"]) for run in runs[-LAST_RUNS:]]
    return found + [Notice(ENDED[state], name) for name, state in states if state in ENDED]
