"""The scoring history: `scored/ID.json` in the state folder. Images are kept only on request."""

import json
import re
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embryofl.files import write_atomic

MOST = 1000
"""The newest records are kept."""
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")


@dataclass(frozen=True)
class Pictures:
    """An image and its heat map, both re-encoded from decoded pixels, as `data:` addresses ("": none)."""

    picture: str = ""
    heat: str = ""


@dataclass(frozen=True)
class Record:
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
    pictures : dict of str to Pictures
        By file; empty if they were not kept.
    """

    id: str
    time: float
    cohort: str
    scores: dict[str, Any]
    digests: dict[str, str]
    pictures: dict[str, Pictures] = field(default_factory=dict)


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

    def put(self, record: Record, *, pictures: bool) -> None:
        """Keep a record and remove the oldest beyond `MOST`. Raises `UserError` when the disk is full."""
        kept = {k: vars(p) for k, p in record.pictures.items()} if pictures else {}
        body = {**vars(record), "pictures": kept}
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(self._folder / f"{record.id}.json", json.dumps(body, indent=1).encode(), 0o600)
        for path in sorted(self._folder.glob("*.json"))[:-MOST]:
            path.unlink(missing_ok=True)

    def get(self, id_: str) -> Record | None:
        """A record; None if it does not exist or is damaged."""
        if not _ID.fullmatch(id_):
            return None
        try:
            body = json.loads((self._folder / f"{id_}.json").read_text())
            pictures = {k: Pictures(**p) for k, p in body.pop("pictures").items()}
            return Record(**body, pictures=pictures)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def all(self) -> list[Record]:
        """The newest first."""
        paths = sorted(self._folder.glob("*.json"), reverse=True)
        return [record for path in paths if (record := self.get(path.stem)) is not None]
