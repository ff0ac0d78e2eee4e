"""What the round loop is doing: phase, each clinic's state, and what it waits for, until when, and what happens then."""

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class ClinicState:
    """A clinic in the round under way. `state`: a key of `embryofl.states.CLINIC`."""

    state: str
    since: float
    detail: str = ""


@dataclass
class Waiting:
    """What the run waits for: clinics, since and until (Unix times), and what happens at `until`."""

    for_: list[str]
    since: float
    until: float
    then: str
    why: str


@dataclass
class _Snapshot:
    phase: str = "idle"
    round: int = 0
    rounds: int = 0
    round_began: float = 0.0
    deadline: float = 0.0
    deadline_s: float = 0.0
    needed: int = 0
    clinics: dict[str, ClinicState] = field(default_factory=dict)
    waiting: Waiting | None = None


class Progress:
    """Written by the round loop, read by `Overview`; safe across threads."""

    def __init__(self) -> None:
        self._lock, self._now = threading.Lock(), _Snapshot()

    def phase(self, phase: str, round_: int, rounds: int) -> None:
        """Enter a phase: a key of `embryofl.states.PHASE`."""
        with self._lock:
            if (phase, round_) != (self._now.phase, self._now.round):
                self._now.round_began = time.time()
            self._now.phase, self._now.round, self._now.rounds = phase, round_, rounds

    def terms(self, deadline: float, deadline_s: float, needed: int) -> None:
        """The round's deadline (Unix time, and seconds after its start) and how many replies it needs."""
        with self._lock:
            self._now.deadline, self._now.deadline_s, self._now.needed = deadline, deadline_s, needed

    def closed(self) -> None:
        """The round has ended: no deadline, no quorum."""
        with self._lock:
            self._now.deadline, self._now.needed = 0.0, 0

    def begin(self, names: list[str], state: str, others: Mapping[str, str] | None = None) -> None:
        """A round begins with these clinics. `others`: why it is without others that are online."""
        with self._lock:
            self._now.clinics = {name: ClinicState("online", time.time(), why) for name, why in (others or {}).items()}
            self._now.clinics |= {name: ClinicState(state, time.time()) for name in names}

    def clinic(self, name: str, state: str, detail: str = "") -> None:
        """A clinic's state in this round."""
        with self._lock:
            last = self._now.clinics.get(name)
            if last is None or (last.state, last.detail) != (state, detail):
                self._now.clinics[name] = ClinicState(state, time.time(), detail)

    def wait(self, names: list[str], since: float, until: float, then: str, why: str = "") -> None:
        """The run waits for these clinics."""
        with self._lock:
            self._now.waiting = Waiting(names, since, until, then, why) if names or why else None

    def go_on(self) -> None:
        """The run waits for nothing."""
        with self._lock:
            self._now.waiting = None

    def snapshot(self) -> dict[str, Any]:
        """A JSON-able copy."""
        with self._lock:
            return asdict(self._now)
