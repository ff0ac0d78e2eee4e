"""Durable rounds. Weights first, then the JSON that names their SHA-256: a round exists when its JSON does.

weights/<run>/round-0007.safetensors   also what the gateway serves to the clinics
runs/<run>/round-0007.state            the strategy's state for the next round, if it has any
runs/<run>/round-0007.masked           a masked round's sum until it is complete: SHA-256, JSON, numbers
runs/<run>/round-0007.json             round, SHA-256, size, clinics' metrics, rejections; SHA-256 of the state
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embryofl.files import atomic, sha256_of, write_atomic
from embryofl.wire import NAMES, Layout
from embryofl_server.runs.view import read_record

log = logging.getLogger("embryofl.checkpoint")


@dataclass(frozen=True)
class Checkpoint:
    """A complete round: its number, its record (the JSON), its weights file, and the file of the strategy's state."""

    round: int
    record: dict[str, Any]
    weights: Path
    state_file: Path

    def packed(self) -> np.ndarray:
        """The weights, memory-mapped: uint8 `(size,)`."""
        return np.memmap(self.weights, np.uint8, "r")

    def layout(self) -> Layout:
        """The layout of the weights."""
        return Layout.parse(self.packed().data)

    def state(self) -> dict[str, np.ndarray]:
        """The strategy's state: named arrays; empty for a strategy without state."""
        if "state" not in self.record:
            return {}
        packed = np.memmap(self.state_file, np.uint8, "r")  # it may be as large as one model for each clinic
        return Layout.parse(packed.data).tensor_views(packed)


@dataclass(frozen=True)
class CorrectionFile:
    """A clinic's drift correction, next to the model of a round: file name, size and SHA-256."""

    file: str
    size: int
    sha256: str


class Checkpoints:
    """The rounds of one run.

    Parameters
    ----------
    records, weights : Path
        Folders of the JSON records and of the weights.
    keep : int
        How many of the newest weights are kept. The initial model, the best one and every JSON are always kept.
    """

    def __init__(self, records: Path, weights: Path, keep: int) -> None:
        self._records, self._weights, self._keep = records, weights, keep

    def weights_path(self, round_: int) -> Path:
        """Where the weights of a round are."""
        return self._weights / f"round-{round_:04d}.safetensors"

    def _record_path(self, round_: int) -> Path:
        return self._records / f"round-{round_:04d}.json"

    def _state_path(self, round_: int) -> Path:
        return self._records / f"round-{round_:04d}.state"

    def save(
        self,
        round_: int,
        packed: np.ndarray,
        record: dict[str, Any],
        state: Mapping[str, np.ndarray] | None = None,
        best: int | None = None,
    ) -> Checkpoint:
        """Write a round; when this returns it survives a power cut.

        Parameters
        ----------
        round_ : int
        packed : ndarray of uint8
        record : dict
            The rest of the round's record.
        state : mapping of str to ndarray, optional
            The strategy's, for the next round.
        best : int, optional
            The round whose weights must not be pruned.
        """
        data = packed.data
        digest = hashlib.sha256(data).hexdigest()
        write_atomic(self.weights_path(round_), data)
        record = {**record, "round": round_, "sha256": digest, "size": len(data)}
        if state:
            record["state"] = self._save_state(round_, state)
        write_atomic(self._record_path(round_), json.dumps(record).encode())
        self._masked_path(round_).unlink(missing_ok=True)
        self._prune(round_, best)
        return self._checkpoint(record)

    def _checkpoint(self, record: dict[str, Any]) -> Checkpoint:
        number = record["round"]
        return Checkpoint(number, record, self.weights_path(number), self._state_path(number))

    def _save_state(self, round_: int, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        layout = Layout.of({name: (NAMES[a.dtype], a.shape) for name, a in state.items()})
        digest = hashlib.sha256(layout.header)
        with atomic(self._state_path(round_)) as file:
            file.write(layout.header)
            for tensor in layout.tensors:
                data = np.ascontiguousarray(state[tensor.name]).reshape(-1).view(np.uint8).data
                file.write(data)
                digest.update(data)
        return {"sha256": digest.hexdigest(), "size": layout.size}

    def save_masked(self, round_: int, record: str, total: np.ndarray) -> None:
        """Write the masked sum of a round, uint32 (n,), and what belongs to it, one line of JSON; `save` removes them a
        moment later. They survive the hub's process. After a power cut the clinics are asked for the same sum again."""
        line = record.encode() + b"\n"
        digest = hashlib.sha256(line)
        digest.update(total.data)
        path = self._masked_path(round_)
        with atomic(path, durable=False) as file:  # syncing takes longer than all else of the masks
            file.write(digest.hexdigest().encode() + b"\n" + line)
            file.write(total.data)

    def forget_masked(self, round_: int) -> None:
        """Remove what `save_masked` wrote."""
        self._masked_path(round_).unlink(missing_ok=True)

    def masked(self, round_: int) -> tuple[str, np.ndarray] | None:
        """What `save_masked` wrote, if it is intact: record and sum."""
        path = self._masked_path(round_)
        if not path.exists():
            return None
        with path.open("rb") as file:
            expected, line, total = file.readline(), file.readline(), np.fromfile(file, "<u4")
        digest = hashlib.sha256(line)
        digest.update(total.data)
        if expected != digest.hexdigest().encode() + b"\n":
            log.warning("%s does not match its SHA-256: it is set aside and the round begins again", path)
            path.rename(path.with_suffix(".masked.damaged"))
            return None
        return line.decode(), total

    def _masked_path(self, round_: int) -> Path:
        return self._records / f"round-{round_:04d}.masked"

    def _prune(self, newest: int, best: int | None) -> None:
        for folder, pattern, spared in (
            (self._weights, "round-*.safetensors", (0, best)),
            (self._records, "round-*.state", ()),
        ):
            for path in folder.glob(pattern):
                number = int(path.stem.removeprefix("round-").partition("-")[0])
                correction = "-for-" in path.stem  # of the round that has ended
                if correction or (number <= newest - self._keep and number not in spared):
                    path.unlink()

    def save_correction(self, round_: int, clinic: str, packed: np.ndarray) -> CorrectionFile:
        """Write a clinic's drift correction for a round. It can be computed again, so it need not survive a power cut;
        `save` of the next round removes it."""
        path = self._weights / f"round-{round_:04d}-for-{clinic}.safetensors"
        path.write_bytes(packed.data)
        return CorrectionFile(path.name, packed.size, hashlib.sha256(packed.data).hexdigest())

    def at(self, round_: int) -> Checkpoint | None:
        """A round whose record and weights are intact."""
        record = read_record(self._record_path(round_))
        if record is None or not _is_intact(self.weights_path(round_), record["sha256"]):
            return None
        return self._checkpoint(record)

    def records(self) -> list[dict[str, Any]]:
        """The records of all complete rounds, in order."""
        return list(filter(None, map(read_record, sorted(self._records.glob("round-*.json")))))

    def latest(self) -> Checkpoint | None:
        """The newest round whose files are intact; damaged ones are set aside with a warning."""
        for path in sorted(self._records.glob("round-*.json"), reverse=True):
            record = read_record(path)
            if record:
                checkpoint = self._checkpoint(record)
                files = [(checkpoint.weights, record["sha256"])]
                if "state" in record:
                    files.append((checkpoint.state_file, record["state"]["sha256"]))
                if all([_is_intact(file, digest) for file, digest in files]):
                    return checkpoint
            log.warning("%s does not describe an intact round: it is set aside", path)
            path.rename(path.with_suffix(".json.damaged"))
        return None


def _is_intact(path: Path, digest: str) -> bool:
    """Whether a file exists and is what was written; one that is not is set aside."""
    if not path.exists():
        log.warning("%s is missing: the round before is used", path)
        return False
    if sha256_of(path) != digest:
        log.warning("%s does not match its SHA-256: it is set aside and the round before is used", path)
        path.rename(path.with_suffix(path.suffix + ".damaged"))
        return False
    return True
