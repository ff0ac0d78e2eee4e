"""Canaries: drawn embryos with random labels that a clinic adds to its training with `dp_epsilon`, each by a coin.

After the run, the clinic guesses from the final model which of them were there; see `embryofl.privacy.one_run`. A canary is
a patient with two embryos of one drawn image, so that clipping by image, or counting embryos as patients, would show.

Labels and coins come from the operating system's generator and stay in the clinic's state (`privacy/canaries.json`), so
that each round, and each repetition of one, has the same canaries. No coin ever leaves. A guess is made of the model, the
canaries and nothing else, so that counts of guesses tell no more of a patient than the model does.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

from embryofl.errors import UserError
from embryofl.files import in_turn, write_atomic
from embryofl.messages import Request
from embryofl.metrics import FloatArray, IntArray
from embryofl.models.drawn import DRAWN, drawn_features
from embryofl.privacy.one_run import guesses_of, right_of
from embryofl.schema import Name, Strict

FILE = "privacy/canaries.json"
EMBRYOS = 2  # of a canary
KEPT = 10  # runs, the newest: an audit that is asked again gets the same answer


class _Canary(Strict):
    """One canary: which drawn embryo, its label, and the coin."""

    drawn: int = Field(ge=0, lt=DRAWN)
    label: int = Field(ge=0, le=1)
    included: bool


class _OfRun(Strict):
    run: Name
    canaries: list[_Canary]


_FORM = TypeAdapter(list[_OfRun])


@dataclass(frozen=True)
class Canaries:
    """Those of a run, in and out.

    Attributes
    ----------
    features : ndarray of float32, (m, 16)
    labels : ndarray of int64, (m,)
    included : ndarray of bool, (m,)
    """

    features: npt.NDArray[np.float32]
    labels: IntArray
    included: npt.NDArray[np.bool_]

    def patients(self) -> tuple[npt.NDArray[np.float32], IntArray, IntArray]:
        """Those that are in, as patients with `EMBRYOS` embryos of one image each: features of embryos, their labels, and
        numbers of their patients from 0."""
        features = np.repeat(self.features[self.included], EMBRYOS, axis=0)
        labels = np.repeat(self.labels[self.included], EMBRYOS)
        return features, labels, np.arange(len(labels)) // EMBRYOS

    def guessed(self, weights: FloatArray) -> tuple[int, int]:
        """How many guesses from a head's weights and bias, float64 (d + 1,), are right, and how many are wrong.

        A gradient of a canary is along its features, towards its label. The further the head has gone that way, in units of
        how far drawn embryos usually lie that way, the more it looks as if the canary was there.
        """
        inputs, drawn = _inputs(self.features), _inputs(drawn_features())
        ways = np.linalg.solve(drawn.T @ drawn / len(drawn), inputs.T).T
        lengths = np.sqrt((ways * inputs).sum(axis=1))
        scores: FloatArray = (2 * self.labels - 1) * (ways @ weights) / lengths
        guesses = guesses_of(len(self.labels))
        right = right_of(scores, self.included, guesses)
        return right, guesses - right


class CanaryFile:
    """Draws canaries and keeps them.

    Parameters
    ----------
    state_dir : Path
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def of(self, request: Request) -> Canaries | None:
        """The canaries that a request to train or to audit is about: of training those of the run, which are drawn if there
        are none yet; of an audit those that were drawn. None if there are none.

        Raises
        ------
        UserError
            When the file is damaged.
        """
        count = request.settings.audit_canaries
        if not count or request.work not in ("train", "audit"):
            return None
        with in_turn(self._path):
            runs = self._read()
            found = next((each.canaries for each in runs if each.run == request.run), None)
            if found is None and request.work == "train":
                found = _drawn(count)
                kept = [*runs[1 - KEPT :], _OfRun(run=request.run, canaries=found)]
                write_atomic(self._path, _FORM.dump_json(kept, indent=1), 0o600)
        return None if found is None else _numbers(found)

    def _read(self) -> list[_OfRun]:
        try:
            return _FORM.validate_json(self._path.read_bytes()) if self._path.exists() else []
        except (OSError, ValidationError) as exc:
            raise UserError(
                "J8",
                f"{self._path} cannot be read. Expected the canaries of runs with audit_canaries, which are nobody's data. "
                "Remove it: others are drawn from then on, and an audit of an earlier run guesses none.",
            ) from exc


def _inputs(features: npt.NDArray[np.float32]) -> FloatArray:
    """Features, and 1 for the bias."""
    return np.append(features.astype(np.float64), np.ones((len(features), 1)), axis=1)


def _drawn(count: int) -> list[_Canary]:
    chosen = secrets.SystemRandom().sample(range(DRAWN), count)
    return [_Canary(drawn=d, label=secrets.randbelow(2), included=bool(secrets.randbelow(2))) for d in chosen]


def _numbers(canaries: list[_Canary]) -> Canaries:
    drawn = np.array([canary.drawn for canary in canaries], np.int64)
    labels = np.array([canary.label for canary in canaries], np.int64)
    return Canaries(drawn_features()[drawn], labels, np.array([canary.included for canary in canaries], np.bool_))
