"""The other clinics' pooled image statistics, as the hub sent them, in the clinic's state folder."""

import logging
from pathlib import Path

from pydantic import ValidationError

from embryofl.data_statistics import DataStatistics
from embryofl.files import write_atomic

log = logging.getLogger("embryofl.federation")


class OthersStatistics:
    """`federation.json` in a clinic's state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "federation.json"

    @property
    def others(self) -> DataStatistics | None:
        """The newest statistics; None if the hub has sent none yet."""
        try:
            return DataStatistics.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return None

    @property
    def digest(self) -> str:
        """By which the hub sees whether its own are newer; "" if there are none."""
        others = self.others
        return others.digest if others else ""

    def take(self, others: DataStatistics) -> None:
        """Save what the hub has sent."""
        try:
            write_atomic(self._path, others.model_dump_json().encode(), 0o600)
        except OSError as exc:  # the data report then compares with the previous statistics
            log.warning("the other clinics' image statistics cannot be saved (%s)", exc.strerror)
