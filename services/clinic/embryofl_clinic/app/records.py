"""The scoring history: `scored/ID.json` in the state folder. Images are kept only on request."""

import re
import secrets
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from embryofl.files import write_atomic

MOST = 1000
"""The newest records are kept."""
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")


class RecordImage(BaseModel):
    """An image and its heat map, both re-encoded from decoded pixels, as `data:` addresses ("": none)."""

    model_config = ConfigDict(frozen=True)

    image: str = ""
    heat: str = ""


class Record(BaseModel):
    """One scoring.

    Attributes
    ----------
    id : str
    time : float
        Unix time in seconds.
    cohort : str
        As typed.
    scores : dict
        `Scores.to_dict`.
    digests : dict of str to str
        SHA-256 of each file.
    images : dict of str to RecordImage
        By file; empty if they were not kept.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    time: float
    cohort: str
    scores: dict[str, Any]
    digests: dict[str, str]
    images: dict[str, RecordImage] = {}


def new_id() -> str:
    """A record's id: the time, and a random part that cannot be guessed."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(4)


class Records:
    """The records of one clinic.

    Parameters
    ----------
    state_dir : Path
    """

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "scored"

    def put(self, record: Record, *, images: bool) -> None:
        """Keep a record and remove the oldest beyond `MOST`. Raises `UserError` when the disk is full."""
        stored = record if images else record.model_copy(update={"images": {}})
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(self._folder / f"{record.id}.json", stored.model_dump_json(indent=1).encode(), 0o600)
        for path in sorted(self._folder.glob("*.json"))[:-MOST]:
            path.unlink(missing_ok=True)

    def get(self, id_: str) -> Record | None:
        """A record; None if it does not exist or is damaged."""
        if not _ID.fullmatch(id_):
            return None
        try:
            return Record.model_validate_json((self._folder / f"{id_}.json").read_bytes())
        except (OSError, ValueError):
            return None

    def all(self) -> list[Record]:
        """The newest first."""
        paths = sorted(self._folder.glob("*.json"), reverse=True)
        return [record for path in paths if (record := self.get(path.stem)) is not None]
