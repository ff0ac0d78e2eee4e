"""Durable rounds. Weights first, then the JSON that names their SHA-256: a round exists when its JSON does.

weights/<run>/round-0007.safetensors   also what the gateway serves to the clinics
runs/<run>/round-0007.json             round, SHA-256, size, clinics' metrics, refusals
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embryofl.files import write_atomic
from embryofl.wire import Layout

log = logging.getLogger("embryofl.checkpoint")


@dataclass(frozen=True)
class Checkpoint:
    """A complete round: its number, its record (the JSON), and its weights file."""

    round: int
    record: dict[str, Any]
    weights: Path

    def packed(self) -> np.ndarray:
        """The weights, memory-mapped: uint8 `(size,)`."""
        return np.memmap(self.weights, np.uint8, "r")

    def layout(self) -> Layout:
        """The layout of the weights."""
        return Layout.parse(self.packed().data)


class Checkpoints:
    """The rounds of one run.

    Parameters
    ----------
    records, weights : Path
        Folders of the JSON records and of the weights.
    keep : int
        How many of the newest weights stay; the initial model and every JSON stay always.
    """

    def __init__(self, records: Path, weights: Path, keep: int) -> None:
        self._records, self._weights, self._keep = records, weights, keep

    def weights_path(self, round_: int) -> Path:
        """Where the weights of a round are."""
        return self._weights / f"round-{round_:04d}.safetensors"

    def _record_path(self, round_: int) -> Path:
        return self._records / f"round-{round_:04d}.json"

    def save(self, round_: int, packed: np.ndarray, record: dict[str, Any]) -> Checkpoint:
        """Write a round; when this returns it survives a power cut."""
        data = packed.data
        digest = hashlib.sha256(data).hexdigest()
        write_atomic(self.weights_path(round_), data)
        record = {**record, "round": round_, "sha256": digest, "size": len(data)}
        write_atomic(self._record_path(round_), json.dumps(record, indent=1).encode())
        self._prune(round_)
        return Checkpoint(round_, record, self.weights_path(round_))

    def _prune(self, newest: int) -> None:
        for path in self._weights.glob("round-*.safetensors"):
            if 0 < int(path.stem.removeprefix("round-")) <= newest - self._keep:
                path.unlink()

    def records(self) -> list[dict[str, Any]]:
        """The records of all complete rounds, in order."""
        found = (_read(p) for p in sorted(self._records.glob("round-*.json")))
        return [record for record in found if record]

    def latest(self) -> Checkpoint | None:
        """The newest round whose weights are there and match their SHA-256; damaged ones are set aside with a warning."""
        for path in sorted(self._records.glob("round-*.json"), reverse=True):
            record = _read(path)
            weights = self.weights_path(record["round"]) if record else None
            if record and weights and weights.exists():
                with weights.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() == record["sha256"]:
                        return Checkpoint(record["round"], record, weights)
                log.warning("%s does not match its SHA-256: it is set aside and the round before is used", weights)
                weights.rename(weights.with_suffix(".damaged"))
            path.rename(path.with_suffix(".json.damaged"))
        return None


def _read(path: Path) -> dict[str, Any] | None:
    """A round's record, or None when it is damaged."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        return record if {"round", "sha256"} <= set(record) else None
    except ValueError:
        log.warning("%s is damaged: it does not count", path)
        return None
