"""The clinic's policy: requests that it blocks, whatever the hub sends. Its rules are read again for every request."""

import datetime
import json
import logging
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, field_validator

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl.membership import Releases
from embryofl.messages import Request
from embryofl.metrics import SMALLEST_COUNT, ScoredEmbryos
from embryofl.schema import Meaning, Strict, explain
from embryofl.secagg.threshold import MAX_CLINICS, MAX_SHARE, MIN_CLINICS
from embryofl_clinic.policy.audits import reason_against_audit
from embryofl_clinic.policy.questions import About, Questions, Split
from embryofl_clinic.privacy.ledger import Limits, PrivacyLedger

log = logging.getLogger("embryofl.policy")

FILE, COUNT, BLOCKED = "policy.toml", "rounds_today.json", "refused.json"
ONE_OWNER = Path(__file__).with_name("one_owner.toml").read_text()
"""Rules of a clinic that belongs to the hub's own people, as in a demo."""


class Rules(Strict):
    """`policy.toml` in the clinic's state folder; each rule is optional.

    Attributes
    ----------
    min_examples : int
        With fewer training embryos the clinic does not train.
    models : list of str
        The models it trains; empty = all.
    max_rounds_a_day : int
        Training rounds per day (UTC); 0 = no limit.
    quiet_hours : str
        Hours in which it does nothing, in this machine's local time, such as "22:00-06:00"; "" = none.
    min_cell : int
        Counts and metrics of fewer embryos are withheld.
    require_dp : bool
        Only take part in runs with differential privacy (`RunSettings.dp_epsilon`).
    max_epsilon_per_run, max_epsilon_lifetime : float
        The largest `dp_epsilon` of a run, and the largest epsilon of all runs together (`embryofl_clinic.privacy`); 0 = no
        limit. With either, the clinic only takes part in runs with differential privacy.
    require_secure_aggregation : bool
        Only train in runs in which updates leave masked (`embryofl.secagg`).
    min_update_noise : float
        Only train in runs in which clinics add at least this much noise (`RunSettings.update_noise`).
    metrics : {"own", "pooled", "none"}
        Which metrics leave the clinic: its own sums in every round; only sums over several clinics, under masks and once a
        run and split; or none. Its own exact ones are on its own page in any case.
    show_metrics : bool
        Other clinics and readers of published results may see this clinic's own metrics. If not, these only count in the
        pooled metrics. The coordinator sees them in any case.
    peers : {"ask", "first"}
        Whether updates are masked together with another clinic only after people have compared its key ("ask"), or with
        the key that the hub shows first.
    max_share : float
        The largest part of a sum's weights that this clinic may have, not counting the heaviest third of the clinics
        (`embryofl.secagg.clinic.ClinicSession`).
    min_sum : int
        The fewest clinics that a sum with this clinic may have, whoever drops out.
    max_evaluations, evaluation_days : int, float
        How many evaluations are answered under masks in so many days; 0 = no limit. One before a run's end is answered only
        if all that the run still asks for can be (`RunSettings.pooled_every`). Two answers about models that are made for
        it tell the label of a chosen image.
    keep_models : int
        How many final models are downloaded and kept, the newest; 0 = none.
    """

    min_examples: int = Field(default=20, ge=1)
    models: list[str] = Field(default_factory=list)
    max_rounds_a_day: int = Field(default=0, ge=0)
    quiet_hours: str = ""
    min_cell: int = Field(default=SMALLEST_COUNT, ge=1)
    max_evaluations: int = Field(default=1, ge=0)
    evaluation_days: float = Field(default=90, gt=0)
    require_dp: bool = False
    max_epsilon_per_run: float = Field(default=0, ge=0)
    max_epsilon_lifetime: float = Field(default=0, ge=0)
    require_secure_aggregation: bool = True
    min_update_noise: float = Field(default=0, ge=0, le=1)
    metrics: Releases = "pooled"
    show_metrics: bool = False
    peers: Literal["ask", "first"] = "ask"
    max_share: float = Field(default=MAX_SHARE, gt=0, le=1)
    min_sum: int = Field(default=MIN_CLINICS, ge=MIN_CLINICS, le=MAX_CLINICS)
    keep_models: int = Field(default=5, ge=0)

    @field_validator("quiet_hours")
    @classmethod
    def _two_times(cls, value: str) -> str:
        _hours(value)
        return value

    @property
    def limits(self) -> Limits:
        """Of what the clinic's patients spend."""
        return Limits(self.max_epsilon_per_run, self.max_epsilon_lifetime)


def load_rules(state_dir: Path) -> Rules:
    """The clinic's present rules.

    Raises
    ------
    UserError
        When the file cannot be used.
    """
    path = state_dir / FILE
    try:
        return Rules.model_validate(tomllib.loads(path.read_text()) if path.exists() else {})
    except ValidationError as exc:
        fault = explain(exc)
    except (OSError, ValueError) as exc:  # not TOML, or not text
        fault = str(exc)
    raise UserError(
        "J9",
        f"The clinic's policy {path} cannot be used: {fault}. Expected {', '.join(Rules.model_fields)}, each optional. "
        "Correct or remove the file. Until then every request is blocked.",
    )


def shows_metrics(state_dir: Path) -> bool:
    """Whether other clinics may see this clinic's own metrics; not while the policy cannot be read."""
    try:
        return load_rules(state_dir).show_metrics
    except UserError:
        return False


def released_metrics(state_dir: Path) -> Releases:
    """Which metrics this clinic releases; none while the policy cannot be read."""
    try:
        return load_rules(state_dir).metrics
    except UserError:
        return "none"


def describe_releasing(metrics: Releases) -> str:
    """What the rule `metrics` means, for a person."""
    what = {
        "own": "This clinic's own metrics are sent to the hub after every round, as exact sums",
        "pooled": "This clinic's metrics are sent to the hub once a run, summed with other clinics' under masks",
        "none": "This clinic's metrics are not sent to the hub",
    }
    return f"{what[metrics]} (metrics)."


def describe_showing(shows: bool) -> str:
    """What the rule `show_metrics` means, for a person."""
    if shows:
        return "Other clinics may see this clinic's own metrics (show_metrics)."
    return "This clinic's own metrics are hidden from other clinics; only the coordinator sees them (show_metrics)."


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
        self._questions, self._privacy = Questions(state_dir), PrivacyLedger(state_dir)

    @property
    def metrics(self) -> Releases:
        """Which metrics leave the clinic."""
        return load_rules(self._state_dir).metrics

    @property
    def min_cell(self) -> int:
        """Counts and metrics of fewer embryos are withheld."""
        return load_rules(self._state_dir).min_cell

    @property
    def is_quiet(self) -> bool:
        """Whether these are the clinic's quiet hours, by its own clock; also while the policy cannot be read."""
        try:
            return _within(load_rules(self._state_dir).quiet_hours, datetime.datetime.now().time())
        except UserError:
            return True

    def reason_to_block(self, request: Request, examples: int | None = None, *, trained: bool = False) -> str:
        """Why the policy blocks this request, in words that may leave the clinic; "" if it does not. `trained`: the clinic
        has trained for it already, in an earlier attempt."""
        reason = self._reason(request, examples, trained)
        self.note_block(request, reason)
        return reason

    def note_block(self, request: Request, reason: str) -> None:
        """Record that a request was blocked, if there is a reason."""
        if reason:
            note = {"time": time.time(), "run": request.run, "round": request.round, "words": reason}
            write_atomic(self._state_dir / BLOCKED, json.dumps(note).encode())

    def _reason(self, request: Request, examples: int | None, trained: bool) -> str:
        if request.clinic != self.name:
            return f"the request is for clinic {request.clinic}, this is {self.name}"
        if request.settings.meaning != self._meaning:
            return (
                f"label 1 means {self._meaning} here and {request.settings.meaning} in the run: they must not be mixed"
            )
        try:
            rules = load_rules(self._state_dir)
        except UserError as exc:
            log.error("%s", exc)
            return "the clinic's policy cannot be read; its log says why"
        if rules.models and request.settings.model not in rules.models:
            return f"the clinic does not train {request.settings.model}, only {', '.join(rules.models)}"
        trains = request.kind in ("keys", "train") and request.work == "train"
        if reason := self._reason_about_epsilon(request, rules, trains):
            return reason
        if rules.require_secure_aggregation and request.kind == "train" and request.masking is None:
            return (
                "the clinic only sends masked updates, and in this run they have no masks; it takes part in such a run if "
                "its policy has require_secure_aggregation = false"
            )
        noise = request.settings.update_noise if request.settings.masked_weights else 0.0
        if trains and noise < rules.min_update_noise:
            return f"the clinic needs update_noise of {rules.min_update_noise} at least, and this run has {noise}"
        if trains and request.settings.grouped and rules.min_sum > MIN_CLINICS:
            return (
                f"this run sums updates in groups of three or four clinics, and the clinic's policy has min_sum = "
                f"{rules.min_sum}; it takes part in a run with groups=off"
            )
        if reason := self._reason_about_metrics(request, rules):
            return reason
        if _within(rules.quiet_hours, datetime.datetime.now().time()):  # by the clinic's own clock
            return f"these are the clinic's quiet hours ({rules.quiet_hours})"
        if examples is not None and examples < rules.min_examples:
            counted = "patients" if request.settings.dp_epsilon else "embryos"
            return f"fewer than {rules.min_examples} training {counted}"
        limit = rules.max_rounds_a_day
        if trains and not trained and limit and rounds_today(self._state_dir) >= limit:
            return f"the clinic has reached its limit of {limit} rounds a day"
        return ""

    def _reason_about_metrics(self, request: Request, rules: Rules) -> str:
        limits = rules.require_dp or any(astuple(rules.limits))
        if reason := reason_against_audit(request, self._state_dir, rules.metrics, limits_epsilon=limits):
            return reason
        pooled = request.work in ("evaluate", "audit") and request.masking is not None
        if pooled and rules.metrics != "pooled":
            return f"the clinic does not release metrics under masks (metrics = {rules.metrics})"
        if rules.metrics != "own" and _asks_for_a_round(request):
            return (
                f"the clinic does not evaluate single rounds for the hub (metrics = {rules.metrics}), and {request.work} "
                f"was asked for after round {request.round} of {request.settings.rounds}"
            )
        if request.work in ("evaluate", "audit") and rules.metrics != "none":
            try:
                return self._questions.reason_to_decline(request, rules.max_evaluations, rules.evaluation_days)
            except UserError as exc:
                log.error("%s", exc)
                return "the clinic's ledger of questions cannot be read; its log says why"
        return ""

    def _reason_about_epsilon(self, request: Request, rules: Rules, trains: bool) -> str:
        if not request.settings.dp_epsilon:
            required = rules.require_dp or any(astuple(rules.limits))
            words = "the clinic only takes part in runs with differential privacy (dp_epsilon), and this run has none"
            return words if required else ""
        try:
            return self._privacy.reason_to_decline(request, rules.limits) if trains else ""
        except UserError as exc:
            log.error("%s", exc)
            return "the clinic's privacy ledger is not as it was left; its log says why"

    def draw_noise(self, request: Request, update: npt.NDArray[np.float64], patients: int) -> bytes:
        """Enter an update into the privacy ledger before it leaves, and draw its noise; see `PrivacyLedger.draw`."""
        return self._privacy.draw(request, update, patients, load_rules(self._state_dir).limits)

    def about(self, request: Request, now: Mapping[Split, tuple[Sequence[str], ScoredEmbryos]]) -> About:
        """Which embryos an answer under masks is about; see `Questions.about`."""
        return self._questions.about(request, now)

    def enter_answer(self, request: Request, released: Releases, answer: str, about: About) -> None:
        """Enter an answer into the ledger of questions before it leaves; see `Questions.enter`."""
        rules = load_rules(self._state_dir)
        limits = rules.max_evaluations, rules.evaluation_days
        self._questions.enter(request, released, answer, about, *limits)

    def count_round(self) -> None:
        """Record a round of training."""
        record = {"day": today(), "rounds": rounds_today(self._state_dir) + 1}
        write_atomic(self._state_dir / COUNT, json.dumps(record).encode())


def _asks_for_a_round(request: Request) -> bool:
    """Whether a request asks for metrics and nothing else, neither in the run's final evaluation nor, as its settings say,
    on the way."""
    final = request.work == "evaluate" and request.round == request.settings.rounds
    return request.work in ("validate", "evaluate") and not (final or request.on_the_way)


def rounds_today(state_dir: Path) -> int:
    """Rounds trained today (UTC)."""
    record = _read(state_dir / COUNT)
    return int(record["rounds"]) if record.get("day") == today() else 0


def last_block(state_dir: Path) -> dict[str, Any]:
    """The last request that the policy blocked: time, run, round, words; empty if there was none."""
    return _read(state_dir / BLOCKED)


def _hours(text: str) -> tuple[datetime.time, datetime.time] | None:
    if not text:
        return None
    try:
        begin, end = (datetime.time.fromisoformat(part.strip()) for part in text.split("-"))
    except ValueError:
        raise ValueError("expected two times of day, such as 22:00-06:00") from None
    return begin, end


def _within(hours: str, now: datetime.time) -> bool:
    interval = _hours(hours)
    if interval is None:
        return False
    begin, end = interval
    return begin <= now < end if begin <= end else now >= begin or now < end


def today() -> str:
    """The date in UTC, ISO 8601: a clinic's day of rounds."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return record
