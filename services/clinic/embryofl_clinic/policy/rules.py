"""The clinic's own rules: what it refuses, whatever the hub asks. They are read anew for every request."""

import datetime
import json
import logging
import time
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl.messages import Request
from embryofl.metrics import SMALLEST_COUNT
from embryofl.schema import Meaning, Strict, explain

log = logging.getLogger("embryofl.policy")

FILE, COUNT, REFUSED = "policy.toml", "rounds_today.json", "refused.json"


class Rules(Strict):
    """`policy.toml` in the clinic's state folder; what it does not name is as here.

    Attributes
    ----------
    min_examples : int
        With fewer training embryos the clinic does not train.
    models : list of str
        The models it works for; empty: all.
    max_rounds_a_day : int
        Rounds of training in a day (UTC); 0: no limit.
    quiet_hours : str
        Hours in which it does nothing, by this machine's local time, such as "22:00-06:00"; "": none.
    min_cell : int
        Counts and metrics of fewer embryos are withheld.
    require_dp : bool
        Only take part in runs with differential privacy. This version has none, so that every request is refused.
    show_metrics : bool
        Others (the other clinics, and whoever reads what is published of a run) may see this clinic's figures on their own.
        Where not, they only count in the figures of all clinics together. The coordinator sees them in any case.
    keep_models : int
        Models of finished runs that are fetched and kept, the newest; 0: none is fetched.
    """

    min_examples: int = Field(default=20, ge=1)
    models: list[str] = Field(default_factory=list)
    max_rounds_a_day: int = Field(default=0, ge=0)
    quiet_hours: str = ""
    min_cell: int = Field(default=SMALLEST_COUNT, ge=1)
    require_dp: bool = False
    show_metrics: bool = False
    keep_models: int = Field(default=5, ge=0)

    @field_validator("quiet_hours")
    @classmethod
    def _two_times(cls, value: str) -> str:
        _hours(value)
        return value


def load_rules(state_dir: Path) -> Rules:
    """The clinic's rules as of now.

    Raises
    ------
    UserError
        When the file cannot be used.
    """
    path = state_dir / FILE
    try:
        return Rules.model_validate(tomllib.loads(path.read_text()) if path.exists() else {})
    except ValidationError as exc:
        words = explain(exc)
    except (OSError, ValueError) as exc:  # no TOML, or no text
        words = str(exc)
    raise UserError(
        f"The clinic's policy {path} cannot be used: {words}. Expected {', '.join(Rules.model_fields)}, each optional; "
        "put it right, or remove the file. Until then every request is refused."
    )


def shows_metrics(state_dir: Path) -> bool:
    """Whether others may see this clinic's figures on their own, as of now; not while the policy cannot be read."""
    try:
        return load_rules(state_dir).show_metrics
    except UserError:
        return False


def shown_words(shows: bool) -> str:
    """What that means, in words."""
    if shows:
        return "Figures of this clinic on its own may be shown to others (show_metrics)."
    return "Figures of this clinic on its own are not shown to others, only to the coordinator (show_metrics)."


class Policy:
    """Checked before any work. Counts rounds a day in the clinic's state folder.

    Parameters
    ----------
    state_dir : Path
    meaning : str
        What label 1 means here.
    name : str
        The clinic's name, as the hub has it.
    """

    def __init__(self, state_dir: Path, meaning: Meaning, name: str) -> None:
        self._state_dir, self._meaning, self.name = state_dir, meaning, name

    @property
    def min_cell(self) -> int:
        """Counts and metrics of fewer embryos are withheld."""
        return load_rules(self._state_dir).min_cell

    def objection(self, request: Request, examples: int | None = None) -> str:
        """Why this request is refused, in words that may leave the clinic; empty when it is not."""
        words = self._objection(request, examples)
        if words:
            note = {"time": time.time(), "run": request.run, "round": request.round, "words": words}
            write_atomic(self._state_dir / REFUSED, json.dumps(note).encode())
        return words

    def _objection(self, request: Request, examples: int | None) -> str:
        if request.clinic != self.name:
            return f"the request is for clinic {request.clinic}, this is {self.name}"
        if request.settings.meaning != self._meaning:
            return (
                f"labels here mean {self._meaning}, the run's mean {request.settings.meaning}: they must not be mixed"
            )
        try:
            rules = load_rules(self._state_dir)
        except UserError as exc:
            log.error("%s", exc)
            return "its own policy cannot be read; its own log says why"
        if rules.models and request.settings.model not in rules.models:
            return f"the clinic does not train {request.settings.model}, only {', '.join(rules.models)}"
        if rules.require_dp:
            return "the clinic takes part only in runs with differential privacy, which this run has not"
        if _within(rules.quiet_hours, datetime.datetime.now().time()):  # noqa: DTZ005 - the clinic's own clock is meant
            return f"these are the clinic's quiet hours ({rules.quiet_hours})"
        if examples is not None and examples < rules.min_examples:
            return f"fewer than {rules.min_examples} training embryos"
        if (
            request.kind == "train"
            and rules.max_rounds_a_day
            and rounds_today(self._state_dir) >= rules.max_rounds_a_day
        ):
            return f"the clinic's limit of {rules.max_rounds_a_day} rounds a day is reached"
        return ""

    def count_round(self) -> None:
        """Note that a round was trained."""
        record = {"day": _day(), "rounds": rounds_today(self._state_dir) + 1}
        write_atomic(self._state_dir / COUNT, json.dumps(record).encode())


def rounds_today(state_dir: Path) -> int:
    """Rounds trained today (UTC)."""
    record = _read(state_dir / COUNT)
    return int(record["rounds"]) if record.get("day") == _day() else 0


def last_refusal(state_dir: Path) -> dict[str, Any]:
    """What this clinic refused last: time, run, round, words; empty when it never did."""
    return _read(state_dir / REFUSED)


def _hours(text: str) -> tuple[datetime.time, datetime.time] | None:
    if not text:
        return None
    try:
        begin, end = (datetime.time.fromisoformat(part.strip()) for part in text.split("-"))
    except ValueError:
        raise ValueError("two times of the day such as 22:00-06:00 were expected") from None
    return begin, end


def _within(hours: str, now: datetime.time) -> bool:
    found = _hours(hours)
    if found is None:
        return False
    begin, end = found
    return begin <= now < end if begin <= end else now >= begin or now < end


def _day() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
