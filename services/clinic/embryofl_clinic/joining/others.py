"""What the hub has told of the other clinics' images together, kept in the clinic's state folder."""

import logging
from pathlib import Path

from pydantic import ValidationError

from embryofl.data_statistics import DataStatistics
from embryofl.files import write_atomic

log = logging.getLogger("embryofl.federation")


class OthersStatistics:
    """`federation.json` in a clinic's state folder: the newest statistics of the other clinics' images."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "federation.json"

    @property
    def others(self) -> DataStatistics | None:
        """What is known; None where the hub has told nothing yet."""
        try:
            return DataStatistics.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return None

    @property
    def digest(self) -> str:
        """Of what is known, by which the hub sees whether there is something new; "" of nothing."""
        others = self.others
        return others.digest if others else ""

    def take(self, others: DataStatistics) -> None:
        """Keep what the hub has told."""
        try:
            write_atomic(self._path, others.model_dump_json().encode(), 0o600)
        except OSError as exc:  # the report then compares with what was told before
            log.warning("what the hub tells of the other clinics' images cannot be kept (%s)", exc.strerror)
