"""What people see of hub, run and clinics at one moment: status, console and Prometheus metrics all show a `Moment`."""

from dataclasses import dataclass
from typing import Any

from embryofl.states import UNDER_WAY
from embryofl_server.members.sessions import Sessions
from embryofl_server.members.store import Clinic, ClinicStore
from embryofl_server.monitor.presence import Presence
from embryofl_server.runs.progress import Progress
from embryofl_server.runs.view import RunView, RunViews


@dataclass(frozen=True)
class ClinicNow:
    """A clinic as people see it.

    Attributes
    ----------
    state, detail : str
        See `clinic_state`; what the round loop says of it in words.
    since : float or None
        Unix time of that state, where it is known.
    online : bool
    last_seen : float
        Unix time at which it was last connected; 0 = never.
    twice : tuple of str, optional
        The two addresses from which its key is used, if it is used in two places.
    """

    clinic: Clinic
    state: str
    detail: str
    since: float | None
    online: bool
    last_seen: float
    twice: tuple[str, str] | None


@dataclass(frozen=True)
class Moment:
    """Everything at one moment.

    Attributes
    ----------
    run : RunView or None
        The one under way, else the newest.
    run_state : str
        "none" without a run.
    progress : dict
        What the round loop says (`Progress.snapshot`), with the round's phase as people see it.
    clinics : dict of str to ClinicNow
        All that ever joined, by name.
    superlink_up : bool
    """

    run: RunView | None
    run_state: str
    progress: dict[str, Any]
    clinics: dict[str, ClinicNow]
    superlink_up: bool

    @property
    def members(self) -> dict[str, ClinicNow]:
        """The clinics that are enrolled or suspended."""
        return {name: c for name, c in self.clinics.items() if c.clinic.state in ("enrolled", "suspended")}


def clinic_state(membership: str, in_round: str, online: bool | None) -> str:
    """A clinic's state, from its membership, the round loop and the SuperLink.

    Parameters
    ----------
    membership : str
        Its state in the store. One that is not enrolled (suspended, say) takes no part, whatever else is known.
    in_round : str
        What the round loop last noted, "" without a run under way or if it was not asked.
    online : bool or None
        Whether it is connected to the SuperLink; None if the SuperLink does not reply.

    Returns
    -------
    str
        "enrolled" if it is unknown whether the clinic is online. Round loop and SuperLink may disagree, as the loop looks
        every few seconds: a clinic it noted as training may be gone, one noted as offline may be back.
    """
    if membership != "enrolled" or online is None:
        return membership
    if not online:
        return "offline"
    return in_round if in_round not in ("", "offline") else "online"


def round_phase(run_state: str, phase: str) -> str:
    """The phase of the round: what the round loop last noted, "idle" unless a run is under way."""
    return phase if run_state in UNDER_WAY else "idle"


class Overview:
    """Brings together what run views, round loop, store and SuperLink know."""

    def __init__(
        self, views: RunViews, progress: Progress, store: ClinicStore, presence: Presence, sessions: Sessions
    ) -> None:
        self.views = views
        self._progress, self._store, self._presence, self._sessions = progress, store, presence, sessions

    def now(self) -> Moment:
        """As of now (presence: up to two seconds old)."""
        online, seen = self._presence.now()  # first: it may take a second
        run, progress = self.views.current(), self._progress.snapshot()
        run_state = run.state["state"] if run else "none"
        progress["phase"] = round_phase(run_state, progress["phase"])
        if run_state not in UNDER_WAY:
            progress |= {"clinics": {}, "waiting": None}
        twice = self._sessions.twice()

        def clinic_now(clinic: Clinic) -> ClinicNow:
            name = clinic.name
            in_round = progress["clinics"].get(name, {"state": "", "detail": "", "since": None})
            state = clinic_state(clinic.state, in_round["state"], None if online is None else online.get(name, False))
            detail, since = in_round["detail"], in_round["since"]
            if clinic.state == "suspended":
                detail, since = clinic.reason, clinic.since
            elif state != in_round["state"]:
                since = None
                if state == "online":  # it is back
                    detail = ""
            connected = bool(online and online.get(name))
            return ClinicNow(clinic, state, detail, since, connected, seen.get(name, 0.0), twice.get(name))

        clinics = {name: clinic_now(clinic) for name, clinic in self._store.clinics().items()}
        return Moment(run, run_state, progress, clinics, online is not None)
