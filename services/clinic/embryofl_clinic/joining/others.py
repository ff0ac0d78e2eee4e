"""The other clinics' pooled image statistics, as the hub sent them: `federation.json` in the clinic's state folder."""

import logging
from pathlib import Path

from pydantic import ValidationError

from embryofl.data_statistics import DataStatistics
from embryofl.files import write_atomic

log = logging.getLogger("embryofl.federation")

FILE = "federation.json"


def load_others(state_dir: Path) -> DataStatistics | None:
    """The newest statistics; None if the hub has sent none yet."""
    try:
        return DataStatistics.model_validate_json((state_dir / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def save_others(state_dir: Path, others: DataStatistics) -> None:
    """Save what the hub has sent."""
    try:
        write_atomic(state_dir / FILE, others.model_dump_json().encode(), 0o600)
    except OSError as exc:  # the data report then compares with the previous statistics
        log.warning("the other clinics' image statistics cannot be saved (%s)", exc.strerror)
