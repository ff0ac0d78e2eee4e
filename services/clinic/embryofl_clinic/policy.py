"""The clinic's own rules: what it refuses, whatever the hub asks."""

import datetime
import json
from pathlib import Path

from embryofl.files import write_atomic
from embryofl.messages import Request
from embryofl_clinic.settings import ClinicSettings


class Policy:
    """Checked before any work. Counts rounds a day in the clinic's state folder."""

    def __init__(self, settings: ClinicSettings, name: str) -> None:
        self._settings, self.name = settings, name
        self._count_file = settings.state_dir / "rounds_today.json"

    def objection(self, request: Request, examples: int | None = None) -> str:
        """Why this request is refused, in words that may leave the clinic; empty when it is not."""
        s = self._settings
        if request.clinic != self.name:
            return f"the request is for clinic {request.clinic}, this is {self.name}"
        if request.settings.meaning != s.meaning:
            return f"labels here mean {s.meaning}, the run's mean {request.settings.meaning}: they must not be mixed"
        if examples is not None and examples < s.min_examples:
            return f"fewer than {s.min_examples} training embryos"
        if request.kind == "train" and s.max_rounds_a_day and self._today() >= s.max_rounds_a_day:
            return f"the clinic's limit of {s.max_rounds_a_day} rounds a day is reached"
        return ""

    def count_round(self) -> None:
        """Note that a round was trained."""
        if self._settings.max_rounds_a_day:
            record = {"day": _day(), "rounds": self._today() + 1}
            write_atomic(self._count_file, json.dumps(record).encode())

    def _today(self) -> int:
        record = json.loads(_read(self._count_file) or "{}")
        return int(record["rounds"]) if record.get("day") == _day() else 0


def _day() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
