"""What hub and clinics exchange in a round, and a run's settings: one strict schema for both sides.

A message is one JSON text inside a Flower message; weights travel beside it as files on signed URLs. Unknown fields are
rejected, so that neither side ever acts on a message that it understands only in part.
"""

import hashlib
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from embryofl.errors import UserError
from embryofl.gardner import Agreement, Target
from embryofl.models import DEFAULT_MODEL, recipe
from embryofl.schema import Download, Meaning, Name, Sha256, Strict, explain
from embryofl.task import TrainSettings
from embryofl.weighting import TEMPERATURE, TaskLosses

_TRAIN, _RECIPE = TrainSettings(), recipe(DEFAULT_MODEL)

PROTOCOL = 2  # raised when a message changes meaning; both sides refuse another number
MAX_REPLY = 1 << 20  # bytes of JSON a reply may have
TEXT_CODE = 7_000
"""Our texts travel as the reason of a Flower error of this code. A message with content is three objects of Flower's, each
an HTTP request of about 4 ms at the SuperLink on each side, and has to be put together from bytes of the other side's; an
error is part of the message's header. flwr's own codes are below 100."""

Seconds = Annotated[float, Field(ge=0, le=1e9)]


class RunSettings(Strict):
    """Everything that decides how a run goes; stored with the run and sent to the clinics. The defaults are those of the
    default model; `run_settings` takes those of the model that is named.

    Times in seconds. `quorum`: 0 means as many as `min_clinics`, below 1 a share of the clinics asked, else a number of
    clinics. A round ends when every clinic asked has answered; or at `round_deadline_s` if the quorum has; or within
    `grace_s` more, as soon as the quorum has; else the run stops with the reason. A deadline of "auto" follows from how
    fast the clinics were in the rounds before. `join_wait_s` bounds the wait for `min_clinics` to be online before a
    round.

    `strategy_settings` are those of the strategy, defaults filled in when the run is started. `norm_clip` and
    `norm_bound` are multiples of the round's median update norm: a longer update is shortened to the first, and refused
    beyond the second; 0 turns one off. After `suspend_after` refusals in a row a clinic is suspended; 0 never does.

    `choose` says which model is the final one: that of the last round, or the one with the best pooled validation AUROC.
    After `patience` rounds without a better one the run ends early; 0 never does. `schedule` is how the learning rate
    falls over the rounds. `mixed_precision` is for clinics that train on CUDA.

    `control`, `personal`, `personal_pull` and `personal_epochs` are how clinics train for the strategy, which decides the
    first two: whether their steps are steered, and which model of their own they keep (see
    `embryofl_clinic.workload.personal`).

    `grades` is the weight of the Gardner grades (expansion, ICM, TE) that are learned beside the label, where a clinic has
    them; a clinic that lacks one takes part all the same.

    Without `closing_evaluation` the clinics do not get the last model and nothing is known of it on held-out patients: for
    runs whose model is only where the next one begins.

    With `threshold_sensitivity` 0 the threshold for sensitivity and specificity is the one with the highest Youden index on
    the validation patients of all clinics; otherwise the highest one with at least this sensitivity there.
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
    strategy: str = "fednova"
    strategy_settings: dict[str, bool | int | float | str] = Field(default_factory=dict)
    norm_clip: float = Field(default=5, ge=0)
    norm_bound: float = Field(default=50, ge=0)
    suspend_after: int = Field(default=3, ge=0)
    min_clinics: int = Field(default=2, ge=1, le=1000)
    quorum: float = Field(default=0, ge=0, le=1000)
    round_deadline_s: Annotated[float, Field(gt=0)] | Literal["auto"] = 3600.0
    grace_s: float = Field(default=600, ge=0)
    join_wait_s: float = Field(default=86_400, gt=0)
    closing_evaluation: bool = True
    seed: int = Field(default=0, ge=0, lt=2**31)
    meaning: Meaning = "quality"
    threshold_sensitivity: float = Field(default=0, ge=0, lt=1)

    @property
    def training(self) -> TrainSettings:
        """The part that decides local training."""
        return TrainSettings(**{f.name: getattr(self, f.name) for f in fields(TrainSettings)})

    @property
    def tasks(self) -> TaskLosses | None:
        """Before the first local epoch: label and grades weighted by how their losses change, which FedEmbryo does (its
        temperature is that of the clinics' weights, too); None where their weights are fixed."""
        if self.strategy != "fedembryo" or not self.grades:
            return None
        return TaskLosses(temperature=float(self.strategy_settings.get("temperature", TEMPERATURE)))

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


class _Versioned(Strict):
    """A message of the protocol this version speaks."""

    protocol: int = PROTOCOL

    @field_validator("protocol")
    @classmethod
    def _same_protocol(cls, value: int) -> int:
        if value != PROTOCOL:
            raise ValueError(f"protocol {value}, this side speaks {PROTOCOL}: update the older of hub and clinic")
        return value


class Request(_Versioned):
    """The hub asks one clinic for one round.

    ``train``: evaluate the model of the last round on validation patients, then train from it. ``validate``: only the
    former, to choose the final model. ``evaluate``: the run's closing evaluation, on validation and test patients.
    """

    kind: Literal["train", "validate", "evaluate"]
    run: Name
    round: int = Field(ge=0)
    clinic: Name
    settings: RunSettings
    layout: str = Field(pattern=r"^[0-9a-f]{16}$")
    model: Download
    control: Download | None = None  # what steers this clinic's steps (`RunSettings.control`), in the model's layout
    upload_url: str = Field(default="", pattern=r"^(/v1/.*)?$", max_length=1000)
    deadline: float  # Unix time in seconds after which a reply is late


class UploadReceipt(Strict):
    """The uploaded update: size in bytes and SHA-256."""

    size: int = Field(ge=1)
    sha256: Sha256


class Reply(_Versioned):
    """A clinic's answer. Metrics are sums over many embryos (`embryofl.metrics.ScoreSums` as a dict), never a score.

    `refused` is set, and everything else empty, when the clinic's own policy forbids the request.
    """

    kind: Literal["train", "validate", "evaluate"]
    run: Name
    round: int = Field(ge=0)
    layout: str = Field(pattern=r"^[0-9a-f]{16}$")
    refused: str = Field(default="", max_length=300)
    update: UploadReceipt | None = None
    examples: int = Field(default=0, ge=0)
    train_loss: float | None = Field(default=None, ge=0, le=1e9)
    validation: dict[str, Any] | None = None
    test: dict[str, Any] | None = None
    personal: dict[Literal["validation", "test"], dict[str, Any]] = Field(default_factory=dict)  # of its own model
    grades: dict[Literal["validation", "test"], dict[Target, Agreement]] = Field(default_factory=dict)
    seconds: dict[Literal["download", "evaluate", "train", "loading", "upload"], Seconds] = Field(default_factory=dict)
    device: str = Field(default="", max_length=40)
    memory_bytes: int = Field(default=0, ge=0, le=1 << 50)  # of the GPU; without one, of the process
    reconnects: int = Field(default=0, ge=0, le=10**9)  # since the clinic's process started


def round_seed(seed: int, round_: int, clinic: str) -> int:
    """Seed of one clinic's work in one round: 63 bits from SHA-256, so that a resumed run repeats it exactly."""
    return int.from_bytes(hashlib.sha256(f"embryofl:{seed}:{round_}:{clinic}".encode()).digest()[:8], "big") >> 1


def run_settings(values: dict[str, Any]) -> RunSettings:
    """Validate settings given by a person; what is left out is what suits the model. `UserError` in words."""
    try:
        return RunSettings.model_validate({**recipe(str(values.get("model", DEFAULT_MODEL))), **values})
    except ValidationError as exc:
        known = ", ".join(RunSettings.model_fields)
        raise UserError(f"The run's settings cannot be used: {explain(exc)}. Known settings: {known}.") from exc
