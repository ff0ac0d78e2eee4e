"""The clinic's privacy ledger (`privacy/releases.json`): every update with noise that it has made, for life.

An update is entered, and its noise drawn, before it leaves. The same one again has the same noise and is not counted
again, so the noise is kept (`privacy/noise.json`) until the run's next round. Each entry counts in full, whether or not the
update came to be part of a model.

The ledger is sealed beside the clinic's key (`identity/privacy.json`: how many entries, and their SHA-256). One that is
gone, shortened, changed, or of another key is no ledger: nothing is added to it until a person accepts it. A copy of the
whole state folder, key and seal included, cannot be told from the folder that it was copied from.
"""

import hashlib
import logging
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

from embryofl.errors import ProtocolError, UserError
from embryofl.files import in_turn, write_atomic
from embryofl.messages import Request
from embryofl.privacy.accountant import composed, epsilon_of
from embryofl.schema import Name, Sha256, Strict
from embryofl.secagg.messages import digest
from embryofl.settings import LARGEST_DELTA
from embryofl_clinic.privacy.answered import Answered

log = logging.getLogger("embryofl.privacy")

LEDGER, NOISE, SEAL = "privacy/releases.json", "privacy/noise.json", "identity/privacy.json"
KEY_SIZE = 32
KEPT_KEYS = 3  # runs, the newest: one may be paused while another is under way


class Release(Answered):
    """An update with noise.

    Attributes
    ----------
    update : str
        SHA-256 of the update without its noise.
    patients : int
        Training patients.
    mu : float
        See `embryofl.privacy.accountant`.
    """

    update: Sha256
    patients: int
    mu: float = Field(gt=0)


class Seal(Strict):
    """Of the first `releases` entries."""

    releases: int
    sha256: Sha256


class NoiseKey(Strict):
    """The secret of the noise in an update of a run's newest round, hexadecimal."""

    run: Name
    round: int
    update: Sha256
    key: str = Field(pattern=rf"^[0-9a-f]{{{2 * KEY_SIZE}}}$")


_RELEASES, _KEYS = TypeAdapter(list[Release]), TypeAdapter(list[NoiseKey])


@dataclass(frozen=True)
class Limits:
    """The policy's `max_epsilon_per_run` and `max_epsilon_lifetime`; 0 = no limit."""

    per_run: float
    lifetime: float


class PrivacyLedger:
    """Reads and writes the ledger.

    Parameters
    ----------
    state_dir : Path
    """

    def __init__(self, state_dir: Path) -> None:
        self._path, self._noise, self._seal = state_dir / LEDGER, state_dir / NOISE, state_dir / SEAL

    def read(self) -> list[Release]:
        """All releases, oldest first.

        Raises
        ------
        UserError
            When the ledger is not as this clinic left it: what its patients have spent is then unknown.
        """
        releases = self._releases()
        try:
            seal = Seal.model_validate_json(self._seal.read_bytes()) if self._seal.exists() else None
        except (OSError, ValidationError) as exc:
            raise UserError("J8", self._trouble(f"has the seal {self._seal}, which is damaged")) from exc
        if seal is None:
            if len(releases) > 1:  # one: the clinic was stopped before it had sealed its first entry
                raise UserError("J8", self._trouble(f"has {len(releases)} entries, and no seal by this clinic's key"))
        elif len(releases) not in (seal.releases, seal.releases + 1):  # one more: stopped before the new seal
            raise UserError("J8", self._trouble(f"has {len(releases)} entries, and {seal.releases} were made"))
        elif seal.sha256 != _digest(releases[: seal.releases]):
            raise UserError("J8", self._trouble("has other entries than were made"))
        return releases

    def accept(self) -> list[Release]:
        """A person says that the ledger is to be gone on with as it is now. Returns its releases; raises `UserError` if it
        is damaged."""
        with in_turn(self._path):
            releases = self._releases()
            self._write(releases)
        log.warning("the privacy ledger was accepted with %d entries", len(releases))
        return releases

    def reason_to_decline(self, request: Request, limits: Limits) -> str:
        """Why nothing is trained for a request with `dp_epsilon`, in words that may leave the clinic; "" if it is.

        Raises
        ------
        UserError
            As `read`.
        """
        return _reason(self.read(), request, limits)

    def draw(
        self, request: Request, update: npt.NDArray[np.float64], patients: int, limits: Limits
    ) -> bytes:  # drawn once: what is sent again is the same
        """Enter an update, and draw the secret from which its noise follows: 32 bytes of the operating system's generator.

        Parameters
        ----------
        request : Request
        update : ndarray of float64, (d,)
            Without noise.
        patients : int
        limits : Limits

        Raises
        ------
        ProtocolError
            When the run is declined (`reason_to_decline`), or was answered in this round with another update: the same
            noise must not be added to both.
        UserError
            As `read`.
        """
        made = hashlib.sha256(update.tobytes()).hexdigest()
        with in_turn(self._path):
            releases = self.read()
            if reason := _reason(releases, request, limits):
                raise ProtocolError(reason)
            keys = self._keys()
            key = next((k for k in keys if (k.run, k.round, k.update) == (request.run, request.round, made)), None)
            if any(release.is_of(request) for release in releases):
                if key is None:
                    raise ProtocolError(
                        f"the update of round {request.round} of {request.run} was made before with other data, or its "
                        "noise is no longer kept; expected the same update until a round is over"
                    )
                return bytes.fromhex(key.key)
            if key is None:
                key = NoiseKey(run=request.run, round=request.round, update=made, key=secrets.token_hex(KEY_SIZE))
                others = [k for k in keys if k.run != request.run]
                kept = [*others[1 - KEPT_KEYS :], key]
                write_atomic(self._noise, _KEYS.dump_json(kept, indent=1), 0o600)
            release = Release.now(request, update=made, patients=patients, mu=request.settings.private_mu)
            self._write([*releases, release])
            return bytes.fromhex(key.key)

    def _releases(self) -> list[Release]:
        try:
            return _RELEASES.validate_json(self._path.read_bytes()) if self._path.exists() else []
        except (OSError, ValidationError) as exc:
            raise UserError("J8", self._trouble("is damaged")) from exc

    def _keys(self) -> list[NoiseKey]:
        """Damaged ones are as good as none: the updates that they belong to are not sent again."""
        try:
            return _KEYS.validate_json(self._noise.read_bytes())
        except (OSError, ValidationError):
            return []

    def _write(self, releases: list[Release]) -> None:
        write_atomic(self._path, _RELEASES.dump_json(releases, indent=1), 0o600)
        seal = Seal(releases=len(releases), sha256=_digest(releases))
        write_atomic(self._seal, seal.model_dump_json().encode(), 0o600)

    def _trouble(self, what: str) -> str:
        return (
            f"{self._path} {what}. Expected the ledger of what this clinic's patients have spent in runs with dp_epsilon. "
            "Until it is back as it was, this clinic trains in no such run. If there is no other, a person can go on from "
            "what is there: embryofl-clinic privacy --accept."
        )


def spent(releases: Sequence[Release]) -> float:
    """The epsilon of all releases together, at `LARGEST_DELTA`."""
    return epsilon_of(composed(release.mu for release in releases), LARGEST_DELTA)


def _reason(releases: Sequence[Release], request: Request, limits: Limits) -> str:
    settings, work = request.settings, digest(request.settings)
    if limits.per_run and settings.dp_epsilon > limits.per_run:
        return (
            f"the run has an epsilon of {settings.dp_epsilon:g}, and the clinic's policy allows {limits.per_run:g} "
            "(max_epsilon_per_run)"
        )
    of_run = [release for release in releases if release.run == request.run]
    if any(release.work != work for release in of_run):
        return f"{request.run} began with other settings; expected the same ones in all rounds"
    if any(release.round == request.round and not release.is_of(request) for release in of_run):
        return f"round {request.round} of {request.run} was answered before, with another model; expected the same one"
    others = [release for release in releases if release.run != request.run]
    before, run_mu = spent(others), settings.private_mu * math.sqrt(settings.rounds)
    after = epsilon_of(composed([*(release.mu for release in others), run_mu]), LARGEST_DELTA)
    if limits.lifetime and after > limits.lifetime:
        return (
            f"the run's epsilon of {settings.dp_epsilon:g} would bring what the clinic's patients have spent from "
            f"{before:.3g} to {after:.3g}, and its policy allows {limits.lifetime:g} (max_epsilon_lifetime)"
        )
    return ""


def _digest(releases: list[Release]) -> str:
    return hashlib.sha256(_RELEASES.dump_json(releases)).hexdigest()


def describe_ledger(releases: Sequence[Release], limits: Limits) -> str:
    """The ledger for people: a line for each run, and what is spent and left."""
    lines = []
    for run in dict.fromkeys(release.run for release in releases):
        of_run = [release for release in releases if release.run == run]
        began = time.strftime("%Y-%m-%d %H:%M", time.gmtime(of_run[0].time))
        rounds = "1 round" if len(of_run) == 1 else f"{len(of_run)} rounds"
        lines.append(
            f"{began}  {run}: epsilon {spent(of_run):.3g} in {rounds}, {of_run[-1].patients} training patients"
        )
    lines = lines or ["This clinic has trained in no run with dp_epsilon yet."]
    total = f"Spent in all: epsilon {spent(releases):.3g} at delta {LARGEST_DELTA:g}"
    allowed = f"{limits.lifetime:g} allowed" if limits.lifetime else "no limit"
    one = f"{limits.per_run:g} a run" if limits.per_run else "no limit a run"
    return "\n".join(
        [
            *lines,
            f"{total}; {allowed} (max_epsilon_lifetime), {one} (max_epsilon_per_run).",
            "It counts updates of runs with dp_epsilon, for each training patient. It does not count runs without "
            "dp_epsilon, of which nothing can be proven, nor metrics of validation and test patients, nor what was sent on "
            "joining.",
        ]
    )
