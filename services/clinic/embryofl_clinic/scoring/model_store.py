"""Models of finished runs at the clinic: `models/RUN/model.safetensors` and `model.json` in the state folder.

The weights are written first, then the JSON with their SHA-256, so a model exists when its JSON does. Both are data and are
never executed.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, ValidationError

from embryofl.errors import UserError
from embryofl.files import sha256_of, write_atomic
from embryofl.schema import Meaning, Name, Sha256, explain
from embryofl.wire import Layout, WireError
from embryofl_clinic.scoring.calibration import CardCalibration, CardPart

WEIGHTS, CARD = "model.safetensors", "model.json"
MOST_CARD_BYTES = 1 << 20
MOST_WEIGHTS_BYTES = 4 << 30
JOIN_ONE = (
    "Take part in a run: its model is downloaded automatically within a minute of the run finishing. "
    "Or name a file with --model."
)


class CardSettings(CardPart):
    """The part of a run's settings that scoring needs, and the clinic's own results."""

    model: Annotated[str, Field(max_length=100)]
    image_size: Annotated[int, Field(ge=32, le=512)]
    meaning: Meaning = "quality"
    grades: Annotated[float, Field(ge=0, le=10)] = 0.0
    closing_evaluation: bool = True


class Card(CardPart):
    """`model.json` of a finished run's model."""

    run: Name
    round: Annotated[int, Field(ge=0)]
    sha256: Sha256
    settings: CardSettings
    calibration: CardCalibration | None = None


@dataclass(frozen=True)
class StoredModel:
    """A model on disk: its card, and the file with its weights."""

    card: Card
    weights: Path

    def packed(self) -> np.ndarray:
        """The weights, uint8 (size,), checked against the card.

        Raises
        ------
        UserError
            When the file is not the one that the card names, or not a packed model.
        """
        try:
            if sha256_of(self.weights) != self.card.sha256:
                raise UserError(
                    "M2",
                    f"{self.weights} is not the file that its {CARD} describes (another SHA-256). Expected the two files "
                    "of one run side by side: copy both again.",
                )
            packed = np.fromfile(self.weights, np.uint8)
            Layout.parse(packed.data).check(packed)
        except WireError as exc:
            raise UserError(
                "M2",
                f"{self.weights} is not an EmbryoFL model ({exc}). Expected the model.safetensors of a finished run.",
            ) from exc
        except OSError as exc:
            raise UserError("M2", f"{self.weights} cannot be read ({exc.strerror}).") from exc
        return packed


def read_model(weights: Path) -> StoredModel:
    """A model by its weights file, with `model.json` next to it.

    Raises
    ------
    UserError
        When one of them is missing, or the card cannot be used.
    """
    card = weights.with_name(CARD)
    for path in (weights, card):
        if not path.is_file():
            raise UserError(
                "M1",
                f"There is no file {path}. Expected a run's model.safetensors with its {CARD} next to it: the card names "
                "the network and its image size.",
            )
    return StoredModel(_card(card), weights)


def _card(path: Path) -> Card:
    try:
        if path.stat().st_size > MOST_CARD_BYTES:
            raise UserError("M2", f"{path} is larger than {MOST_CARD_BYTES >> 20} MiB. Expected the {CARD} of a run.")
        return Card.model_validate_json(path.read_bytes())
    except ValidationError as exc:
        raise UserError("M2", f"{path} cannot be used: {explain(exc)}. Expected the {CARD} of a finished run.") from exc
    except OSError as exc:
        raise UserError("M2", f"{path} cannot be read ({exc.strerror}).") from exc


class ModelStore:
    """The models of finished runs in a clinic's state folder.

    Parameters
    ----------
    state_dir : Path
    """

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / "models"

    def all(self) -> list[StoredModel]:
        """The newest first, by time of download; damaged ones are skipped."""
        models = []
        for path in self.folder.glob(f"run-*/{CARD}"):
            try:
                models.append((path.stat().st_mtime_ns, read_model(path.with_name(WEIGHTS))))
            except (OSError, UserError):
                continue
        return [model for _, model in sorted(models, key=lambda pair: pair[0], reverse=True)]

    @property
    def changed(self) -> int:
        """When the newest model was stored, in ns; 0 without any."""
        return max((path.stat().st_mtime_ns for path in self.folder.glob(f"run-*/{CARD}")), default=0)

    def get(self, run: str = "") -> StoredModel:
        """The model of a run, by default the newest. Raises `UserError` if there is none."""
        models = self.all()
        for model in models:
            if run in ("", model.card.run):
                return model
        of, names = f" of {run}" if run else "", ", ".join(m.card.run for m in models) or "none"
        raise UserError("M1", f"No model{of} was found in {self.folder} (models: {names}). {JOIN_ONE}")

    def has(self, run: str, card_sha256: str) -> bool:
        """Whether a run's weights and this very card are stored."""
        folder = self.folder / run
        return (folder / WEIGHTS).is_file() and (folder / CARD).is_file() and sha256_of(folder / CARD) == card_sha256

    def put(self, run: str, weights: np.ndarray, card: bytes) -> Card:
        """Store a model.

        Raises
        ------
        UserError
            When card, weights and run do not belong together, or the disk is full.
        """
        try:
            parsed = Card.model_validate_json(card)
            Layout.parse(weights.data).check(weights)
        except (ValueError, WireError) as exc:  # ValidationError is a ValueError
            reason = explain(exc) if isinstance(exc, ValidationError) else str(exc)[:200]
            raise UserError("M2", f"The model of {run} that the hub offers cannot be used: {reason}.") from exc
        if parsed.run != run or parsed.sha256 != hashlib.sha256(weights.data).hexdigest():
            raise UserError(
                "M2", f"The model of {run} that the hub offers cannot be used: its card belongs to another model."
            )
        folder = self.folder / run
        (folder / CARD).unlink(missing_ok=True)  # a card must never be next to other weights
        write_atomic(folder / WEIGHTS, weights.data)
        write_atomic(folder / CARD, card)
        return parsed

    def prune(self, keep: int) -> None:
        """Remove all but the `keep` newest."""
        for model in self.all()[keep:]:
            shutil.rmtree(model.weights.parent, ignore_errors=True)


def chosen_models(state_dir: Path, runs: Sequence[str], files: Sequence[Path]) -> list[StoredModel]:
    """The named models, each once; by default that of the newest finished run. Raises `UserError`."""
    if runs and files:
        raise UserError("S7", "Both --run and --model were given. Expected one of them.")
    if files:
        return [read_model(path / WEIGHTS if path.is_dir() else path) for path in files]
    store = ModelStore(state_dir)
    return [store.get(run) for run in dict.fromkeys(runs)] or [store.get()]
