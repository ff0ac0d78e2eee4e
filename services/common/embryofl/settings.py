"""A run's settings, how a clinic trains under them, and the learning rate from round to round. Loads no torch."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from embryofl.errors import UserError
from embryofl.models import DEFAULT_MODEL, recipe
from embryofl.privacy.accountant import mu_of
from embryofl.privacy.one_run import FEWEST_CANARIES
from embryofl.schema import Meaning, Name, Strict, explain
from embryofl.secagg.groups import FEWEST_DRAWN
from embryofl.weighting import TEMPERATURE, TaskLosses

SGD_MOMENTUM = 0.9

LARGEST_DELTA = 1e-5
"""The largest `dp_delta`: a delta near one in the number of patients would allow that one of them is told outright."""

PRIVATE: Mapping[str, bool | float | str] = {
    "model": "lite0_16",
    "pretrained": "",
    "strategy": "fedavg",
    "optimiser": "sgd",
    "local_epochs": 1,
    "learning_rate": 10.0,
    "schedule": "constant",
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "balance": 0.0,
    "proximal": 0.0,
    "grades": 0.0,
    "mixed_precision": False,
    "choose": "last",
    "patience": 0,
    "update_noise": 0.0,
    "alarms": False,
    "groups": "off",
}
"""What a run with `dp_epsilon` has: all that leaves of training patients is then one noisy step a round, to which each
patient has given as much as a clip allows, and no choice depends on what has no noise."""

SumWeights = Literal["", "examples", "examples_per_step"]
"""Weights of a mean of updates: training embryos, or these divided by `embryofl.local_work.local_steps`. "": no mean."""


@dataclass(frozen=True)
class TrainSettings:
    """How to train; `embryofl.models.recipe` has what suits a model.

    Attributes
    ----------
    local_epochs : int
        Passes over the clinic's embryos in each round. Each pass takes one image of every embryo, drawn at random if there
        are several.
    batch_size : int
        Embryos per step.
    learning_rate : float
        In round 1; see `RunSettings.rate_scale`.
    weight_decay : float
        Decoupled (AdamW) or as an L2 term (SGD).
    optimiser : {"adamw", "sgd"}
        Fresh in each round: its state does not travel. SGD has momentum `SGD_MOMENTUM`.
    label_smoothing : float
        Labels become ``smoothing / 2`` and ``1 - smoothing / 2``.
    balance : float
        0 counts every embryo once; 1 gives each day, and both labels of a day, the same total weight; values between are a
        power of that.
    grades : float
        Weight of the Gardner grades relative to the label, on embryos that have them. 0 = not learned.
    proximal : float
        FedProx's mu: half of it times the squared distance from the weights at the start (or from `anchor`) is added to
        the loss.
    mixed_precision : bool
        Half precision where it suffices, on CUDA only.
    """

    local_epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    optimiser: Literal["adamw", "sgd"] = "adamw"
    label_smoothing: float = 0.0
    balance: float = 1.0
    proximal: float = 0.0
    mixed_precision: bool = False
    grades: float = 0.0

    def steps(self, embryos: int) -> int:
        """Optimiser steps in one round on this many embryos, at least one per local epoch."""
        return self.local_epochs * math.ceil(max(embryos, 1) / self.batch_size)


_TRAIN, _RECIPE = TrainSettings(), recipe(DEFAULT_MODEL)


class RunSettings(Strict):
    """All settings of a run; stored with it and sent to the clinics.

    The defaults are those of the default model; `run_settings` uses those of the chosen model.

    `clinics`: those that take part, by name in order; empty = all that are enrolled. No other is asked for anything in the
    run, waited for or counted. Text with commas is taken as names.

    Times are in seconds. `quorum`: 0 means `min_clinics`, below 1 a share of the clinics asked, otherwise a number of
    clinics. A round ends when every clinic asked has replied; or at `round_deadline_s` if the quorum has; or up to
    `grace_s` later, as soon as the quorum has; otherwise the run fails with the reason. "auto" derives the deadline from
    the clinics' recent times. `join_wait_s` bounds the wait for `min_clinics` to be online before a round.

    `strategy_settings` are those of the strategy; defaults are filled in when the run is started. `norm_clip` and
    `norm_bound` are multiples of the round's median update norm: a longer update is scaled down to the first and rejected
    beyond the second; 0 turns either off. From three clinics on, none has more than the part `share_cap` of a round's
    weights; 1 turns it off. After `suspend_after` rejections in a row a clinic is suspended; 0 = never.

    `choose` names the final model: that of the last round, or the one with the best pooled validation AUROC. After
    `patience` rounds without a better one the run ends early; 0 = never. `schedule` is how the learning rate falls over
    the rounds. `mixed_precision` is for clinics that train on CUDA.

    `control`, `personal`, `personal_pull`, `personal_epochs` and `task_weights` are how clinics train for the strategy. It
    decides `control` (drift correction of local steps), `personal` (which personal model a clinic keeps, see
    `embryofl_clinic.workload.personal`) and `task_weights` ("losses": label and grades are weighted by how their losses
    change, see `embryofl.weighting`; the temperature is the strategy's, if it has one).

    `grades` is the weight of the Gardner grades (expansion, ICM, TE), learned together with the label where a clinic has
    them. A clinic without grades can take part, too.

    Without `closing_evaluation` the clinics do not receive the last model, and it is not evaluated on test patients: for
    runs whose model is only the start of the next one.

    `pooled_every` asks the clinics that release only pooled metrics for those on validation patients after every so many
    rounds, too; 0 = only at the end. A clinic answers on the way if its policy's budget covers all that the run still asks
    for.

    `secure_aggregation`: "auto" masks the clinics' updates where at least three clinics take part and the strategy needs
    their mean alone; "required" also rejects a run that cannot be masked. `masked_weights` follows from it and from the
    strategy: how the updates are weighted under the masks, "" without masks. `update_noise` is the norm of the noise that
    clinics add under the masks to the mean of their updates, as a multiple of the bound to which they clip these. `alarms`:
    under the masks, clinics also report a model that is worse than the one before, and half of them bring that one back.
    `groups`: "auto" sums masked updates in groups of three or four clinics where there are at least nine, for a robust mean
    of the groups' means (`embryofl.secagg.groups`); "off" has one sum.

    `dp_epsilon` above 0 is the differential privacy of each training patient at `dp_delta`, of the whole run: the clinics
    take one step a round, to which each patient gives at most `embryofl.masked_update.PATIENT_CLIP`, and add noise to it.
    It decides the settings in `PRIVATE`. `audit_canaries` is how many canaries each clinic then draws, each of which is in
    the training by a coin (`embryofl.privacy.one_run`); 0 = none.

    `threshold_sensitivity` 0 sets the threshold for sensitivity and specificity at the highest Youden index on the pooled
    validation patients; any other value at the highest threshold with at least this sensitivity there.
    """

    model: str = DEFAULT_MODEL
    pretrained: str = ""
    image_size: int = Field(default=int(_RECIPE["image_size"]), ge=32, le=512)
    rounds: int = Field(default=15, ge=1, le=10_000)
    local_epochs: int = Field(default=int(_RECIPE["local_epochs"]), ge=1, le=100)
    batch_size: int = Field(default=_TRAIN.batch_size, ge=1, le=1024)
    learning_rate: float = Field(default=_RECIPE["learning_rate"], gt=0, le=10)
    weight_decay: float = Field(default=_RECIPE["weight_decay"], ge=0, le=10)
    optimiser: Literal["adamw", "sgd"] = _TRAIN.optimiser
    label_smoothing: float = Field(default=_TRAIN.label_smoothing, ge=0, lt=1)
    balance: float = Field(default=_TRAIN.balance, ge=0, le=1)
    proximal: float = Field(default=_TRAIN.proximal, ge=0, le=100)
    mixed_precision: bool = _TRAIN.mixed_precision
    grades: float = Field(default=_TRAIN.grades, ge=0, le=10)
    schedule: Literal["cosine", "constant"] = "cosine"
    choose: Literal["last", "best"] = "last"
    patience: int = Field(default=0, ge=0, le=10_000)
    control: Literal["", "steps", "gradients"] = ""
    personal: Literal["", "norms", "model", "head"] = ""
    personal_pull: float = Field(default=0.1, ge=0, le=100)
    personal_epochs: int = Field(default=1, ge=1, le=100)
    task_weights: Literal["", "losses"] = ""
    strategy: str = "fednova"
    strategy_settings: dict[str, bool | int | float | str] = Field(default_factory=dict)
    norm_clip: float = Field(default=5, ge=0)
    norm_bound: float = Field(default=50, ge=0)
    share_cap: float = Field(default=0.5, ge=0.5, le=1)
    suspend_after: int = Field(default=3, ge=0)
    clinics: list[Name] = Field(default_factory=list, max_length=1000)
    min_clinics: int = Field(default=2, ge=1, le=1000)
    quorum: float = Field(default=0, ge=0, le=1000)
    round_deadline_s: Annotated[float, Field(gt=0)] | Literal["auto"] = 3600.0
    grace_s: float = Field(default=600, ge=0)
    join_wait_s: float = Field(default=86_400, gt=0)
    secure_aggregation: Literal["off", "auto", "required"] = "auto"
    masked_weights: SumWeights = ""
    update_noise: float = Field(default=0, ge=0, le=1)
    dp_epsilon: float = Field(default=0, ge=0, le=50)
    dp_delta: float = Field(default=LARGEST_DELTA, gt=0, le=LARGEST_DELTA)
    audit_canaries: int = Field(default=0, ge=0, le=300)
    alarms: bool = True
    groups: Literal["off", "auto"] = "auto"
    closing_evaluation: bool = True
    pooled_every: int = Field(default=0, ge=0, le=10_000)
    seed: int = Field(default=0, ge=0, lt=2**31)
    meaning: Meaning = "quality"
    threshold_sensitivity: float = Field(default=0, ge=0, lt=1)

    @property
    def training(self) -> TrainSettings:
        """The part that decides local training."""
        return TrainSettings(**{f.name: getattr(self, f.name) for f in fields(TrainSettings)})

    @property
    def tasks(self) -> TaskLosses | None:
        """Losses of label and grades before the first local epoch; None where their weights are fixed."""
        if not (self.task_weights and self.grades):
            return None
        return TaskLosses(temperature=float(self.strategy_settings.get("temperature", TEMPERATURE)))

    @property
    def differs_by_clinic(self) -> str:
        """The setting, with its value, by which an update depends on what the hub has sent this clinic alone, or on what
        the clinic has kept of earlier rounds; "" if there is none. Such updates are not masked: a hub could make all of
        them vanish but one."""
        found: dict[str, str] = {"control": self.control, "task_weights": self.task_weights}
        found["personal"] = self.personal if self.personal == "norms" else ""
        return next((f"{name}={value}" for name, value in found.items() if value), "")

    @property
    def grouped(self) -> bool:
        """Whether masked updates are summed in groups."""
        return self.groups == "auto" and bool(self.masked_weights) and self.min_clinics >= FEWEST_DRAWN

    @property
    def pooled_rounds(self) -> range:
        """The rounds on the way whose models are evaluated under masks."""
        every = self.pooled_every or self.rounds
        return range(every, self.rounds, every)

    def evaluations_from(self, round_number: int) -> int:
        """How many evaluations under masks a clinic is asked for, from that of this round's model to the final one."""
        return sum(number >= round_number for number in self.pooled_rounds) + 1

    def rate_scale(self, round_number: int) -> float:
        """Factor of the learning rate in a round, from 1."""
        return cosine_scale(round_number, self.rounds) if self.schedule == "cosine" else 1.0

    @property
    def private_mu(self) -> float:
        """What one round tells of a patient in a run with `dp_epsilon`: see `embryofl.privacy.accountant`."""
        return mu_of(self.dp_epsilon, self.dp_delta) / math.sqrt(self.rounds)

    @model_validator(mode="after")
    def _epsilon_covers_all_of_training(self) -> "RunSettings":
        wrong = [f"{k}={getattr(self, k)} (it is {v})" for k, v in PRIVATE.items() if getattr(self, k) != v]
        if self.dp_epsilon and wrong:
            raise ValueError(
                f"dp_epsilon decides {', '.join(PRIVATE)}, and cannot cover {', '.join(wrong)}: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _canaries_test_a_stated_epsilon(self) -> "RunSettings":
        if self.audit_canaries and not self.dp_epsilon:
            raise ValueError(
                f"audit_canaries={self.audit_canaries} tests a stated epsilon, and this run states none: set dp_epsilon, "
                "such as dp_epsilon=8, or leave audit_canaries out"
            )
        if 0 < self.audit_canaries < FEWEST_CANARIES:
            raise ValueError(
                f"audit_canaries={self.audit_canaries} is too few for counts that a clinic releases: choose "
                f"{FEWEST_CANARIES} or more, or leave it out"
            )
        return self

    def takes(self, clinic: str) -> bool:
        """Whether a clinic of this name takes part."""
        return not self.clinics or clinic in self.clinics

    @field_validator("clinics", mode="before")
    @classmethod
    def _names_in_order(cls, value: Any) -> Any:
        names = value.replace(" ", "").split(",") if isinstance(value, str) else value
        return sorted({*filter(None, names)}) if isinstance(names, (list, tuple)) else names

    @field_validator("quorum")
    @classmethod
    def _whole_or_share(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"quorum is a whole number of clinics or a share below 1, not {value}")
        return value

    @field_validator("norm_clip", "norm_bound")
    @classmethod
    def _above_the_median(cls, value: float) -> float:
        if 0 < value <= 1:
            raise ValueError("a multiple of the median norm must be above 1 (or 0, which turns it off)")
        return value


def cosine_scale(round_number: int, rounds: int, floor: float = 0.05) -> float:
    """Learning rate scale that falls from 1 in round 1 along a half cosine towards `floor` after the last round.

    Loshchilov and Hutter, "SGDR" (2017), without restarts, over rounds instead of steps.
    """
    done = min(max((round_number - 1) / max(rounds, 1), 0.0), 1.0)
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2


def setting_value(text: str) -> Any:
    """A setting's value as it is typed: numbers and booleans as in JSON, anything else as text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (int, float, bool)) else text


def run_settings(values: dict[str, Any]) -> RunSettings:
    """Validate settings given by a person; the others default to what suits the model.

    Raises
    ------
    UserError
        When a setting does not exist or its value cannot be used.
    """
    try:
        return RunSettings.model_validate({**recipe(str(values.get("model", DEFAULT_MODEL))), **values})
    except ValidationError as exc:
        raise UserError(
            "R1",
            f"The run cannot be started: {explain(exc, RunSettings.model_fields)}. All settings: docs/settings.md.",
        ) from exc
