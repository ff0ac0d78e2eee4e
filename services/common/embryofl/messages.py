"""What hub and clinics exchange in a round: one strict schema for both sides.

A message is one JSON text inside a Flower message; weights travel separately, as files on signed URLs. Unknown fields are
rejected, so that neither side ever acts on a message that it understands only in part.
"""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from embryofl import protocol as versions
from embryofl.gardner import Agreement, Target
from embryofl.membership import MAX_CHANGES, KeyChange
from embryofl.privacy.membership import Audited
from embryofl.schema import Download, Name, Sha256, Strict
from embryofl.secagg.messages import Advert, Letters, Roster, Shares, Signature, Statement, Terms
from embryofl.secagg.threshold import MAX_CLINICS
from embryofl.settings import RunSettings

MAX_REPLY = 1 << 20  # bytes of JSON a reply may have
TEXT_CODE = 7_000
"""Requests and replies travel as the reason of a Flower error with this code. A message with content is three Flower
objects, each an HTTP request of about 4 ms to the SuperLink on each side; an error is part of the message's header.
flwr's own codes are below 100."""

CLINIC_PHASES = ("download", "evaluate", "train", "upload")
"""What a clinic does in a round, in this order."""

Seconds = Annotated[float, Field(ge=0, le=1e9)]


class _Versioned(Strict):
    """A message of a protocol that this version speaks: a request has the clinic's, and its reply the same."""

    protocol: int = versions.PROTOCOL

    @field_validator("protocol")
    @classmethod
    def _known_protocol(cls, value: int) -> int:
        if not versions.OLDEST <= value <= versions.PROTOCOL:
            raise ValueError(
                f"protocol {value}, this side speaks {versions.PROTOCOL}: update the older of hub and clinic"
            )
        return value


Kind = Literal["keys", "letters", "train", "survivors", "shares", "validate", "evaluate", "audit"]
"""What is asked for. Steps of secure aggregation come before and after `train` where updates are masked, and `evaluate` and
`audit` where metrics are; see `embryofl.secagg`."""

MASKING = ("keys", "letters", "survivors", "shares")
"""Kinds of requests that are steps of secure aggregation and nothing else."""


class MaskingRequest(Strict):
    """What a request of a masked round carries: of these parts exactly those of its kind.

    Attributes
    ----------
    terms : Terms
        ``keys``.
    peers : dict of str to str
        ``keys``: the enrolled keys of all clinics asked, OpenSSH lines, for a clinic that has not pinned them yet.
    changes : dict of str to list of KeyChange
        ``keys``: how those clinics came to these keys that have changed theirs, for a clinic that has pinned an older one.
    roster : Roster
        ``letters``.
    letters : Letters
        ``train``, ``evaluate`` and ``audit``: to this clinic.
    statement : Statement
        ``survivors`` and ``shares``.
    signatures : dict of str to str
        ``shares``: confirmations by clinic.
    """

    terms: Terms | None = None
    peers: dict[Name, Annotated[str, Field(max_length=1000)]] = Field(default_factory=dict, max_length=MAX_CLINICS)
    changes: dict[Name, Annotated[list[KeyChange], Field(max_length=MAX_CHANGES)]] = Field(
        default_factory=dict, max_length=MAX_CLINICS
    )
    roster: Roster | None = None
    letters: Letters | None = None
    statement: Statement | None = None
    signatures: dict[Name, Signature] = Field(default_factory=dict, max_length=MAX_CLINICS)


_ASKED: dict[str, set[str]] = {
    "keys": {"terms", "peers"},
    "letters": {"roster"},
    "train": {"letters"},
    "evaluate": {"letters"},
    "audit": {"letters"},
    "survivors": {"statement"},
    "shares": {"statement", "signatures"},
}


class Request(_Versioned):
    """The hub asks one clinic for one round.

    ``train``: evaluate the model of the last round on validation patients, then train from it. ``validate``: only the
    former, to choose the final model. ``evaluate``: the run's final evaluation, on validation and test patients; with
    `masking`, of which only histograms under masks are sent (`embryofl.pooled_metrics`), also one on the way
    (`RunSettings.pooled_rounds`), on validation patients. The others are steps of secure aggregation, in which the upload
    of ``train``, ``evaluate`` or ``audit`` is a masked vector. ``audit``: attack the final model of a run that is over, and
    count how well training patients can be told from validation and test patients.
    """

    kind: Kind
    run: Name
    round: int = Field(ge=0)
    clinic: Name
    settings: RunSettings
    layout: str = Field(pattern=r"^[0-9a-f]{16}$")
    model: Download
    control: Download | None = None  # this clinic's drift correction (`RunSettings.control`), in the model's layout
    upload_url: str = Field(default="", pattern=r"^(/v1/.*)?$", max_length=1000)
    step_url: str = Field(default="", pattern=r"^(/v1/.*)?$", max_length=1000)  # ``keys``: for `Delivery`
    deadline: float  # Unix time in seconds after which a reply is late
    masking: MaskingRequest | None = None

    @property
    def work(self) -> Literal["train", "validate", "evaluate", "audit"]:
        """What there is to do at the clinic: the kind, or of keys that of the attempt that they are for."""
        if self.masking is not None and self.masking.terms is not None:
            return self.masking.terms.kind
        return self.kind if self.kind in ("validate", "evaluate", "audit") else "train"

    @property
    def on_the_way(self) -> bool:
        """Whether this is, or prepares, an evaluation under masks before the run's end."""
        return self.work == "evaluate" and self.masking is not None and self.round in self.settings.pooled_rounds

    @model_validator(mode="after")
    def _parts_are_those_of_the_kind(self) -> "Request":
        train = self.work == "train" and self.kind not in ("letters", "survivors", "shares")
        masked = bool(self.settings.masked_weights) if train else self.masking is not None
        expected, found = (_ASKED.get(self.kind, set()) if masked else set()), _parts(self.masking)
        if self.kind == "keys":
            found -= {"changes"}  # there may be none
        if found != expected or masked != (self.masking is not None) or (self.kind in MASKING and not masked):
            raise ValueError(
                f"{self.kind} with masking {sorted(found)}, expected {sorted(expected)}, as the run's settings say"
            )
        return self

    @model_validator(mode="after")
    def _only_the_clinics_of_the_run_train(self) -> "Request":
        asked = {self.clinic, *(self.masking.peers if self.masking else ())}
        if self.work != "evaluate" and (others := sorted(n for n in asked if not self.settings.takes(n))):
            raise ValueError(f"{self.kind} with {', '.join(others)}, the run is of {', '.join(self.settings.clinics)}")
        return self

    @model_validator(mode="after")
    def _masked_updates_depend_on_what_all_clinics_were_sent(self) -> "Request":
        settings = self.settings
        if settings.masked_weights and (found := settings.differs_by_clinic or (self.control and "control")):
            raise ValueError(f"masks with {found}, by which a hub could tell one clinic's update from the others'")
        if settings.secure_aggregation == "required" and not settings.masked_weights:
            raise ValueError("secure_aggregation=required without masked_weights, expected masks or another setting")
        return self


class UploadReceipt(Strict):
    """The uploaded update: size in bytes and SHA-256."""

    size: int = Field(ge=1)
    sha256: Sha256


class MaskingReply(Strict):
    """What the reply to a step of secure aggregation carries: the part of its kind.

    Attributes
    ----------
    advert : Advert
        ``keys``.
    letters : Letters
        ``letters``: of this clinic.
    confirmation : str
        ``survivors``: this clinic's signature of the statement.
    shares : Shares
        ``shares``.
    accused : str
        ``train``, in place of an update: the clinic whose letter cannot be opened.
    """

    advert: Advert | None = None
    letters: Letters | None = None
    confirmation: Signature | None = None
    shares: Shares | None = None
    accused: Name | Literal[""] = ""


_REPLIED = {"keys": {"advert"}, "letters": {"letters"}, "survivors": {"confirmation"}, "shares": {"shares"}}


class Reply(_Versioned):
    """A clinic's reply. Metrics are sums over many embryos (`embryofl.metrics.ScoreSums` as a dict), never a score.

    `refused` is set, and everything else empty, when the clinic's policy blocks the request. The reply to a step of secure
    aggregation has no metrics and no update; that to ``keys`` has `examples`, from which the clinic's weight follows.

    `seconds` of what is done with the clinic's images are whole ones, rounded up: finer times could tell of single images.
    """

    kind: Kind
    run: Name
    round: int = Field(ge=0)
    layout: str = Field(pattern=r"^[0-9a-f]{16}$")
    refused: str = Field(default="", max_length=300)
    update: UploadReceipt | None = None
    examples: int = Field(default=0, ge=0)
    train_loss: float | None = Field(default=None, ge=0, le=1e9)
    validation: dict[str, Any] | None = None
    test: dict[str, Any] | None = None
    personal: dict[Literal["validation", "test"], dict[str, Any]] = Field(default_factory=dict)  # of its personal model
    grades: dict[Literal["validation", "test"], dict[Target, Agreement]] = Field(default_factory=dict)
    audit: dict[Audited, dict[str, Any]] = Field(default_factory=dict)  # see `AUDITED_AS`
    seconds: dict[Literal["download", "evaluate", "train", "loading", "upload"], Seconds] = Field(default_factory=dict)
    device: str = Field(default="", max_length=40)
    memory_bytes: int = Field(default=0, ge=0, le=1 << 50)  # of the GPU; without one, of the process
    reconnects: int = Field(default=0, ge=0, le=10**9)  # since the clinic's process started
    masking: MaskingReply | None = None

    @model_validator(mode="after")
    def _parts_are_those_of_the_kind(self) -> "Reply":
        expected = set() if self.refused else _REPLIED.get(self.kind, set())
        found = _parts(self.masking)
        if self.kind == "train" and found == {"accused"} and not {*_filled(self)} - _HEAD:
            return self
        if found != expected or bool(expected) != (self.masking is not None):
            raise ValueError(f"{self.kind} with masking {sorted(found)}, expected {sorted(expected)}")
        allowed = {"examples"} if self.kind == "keys" else set()
        if self.kind in MASKING and (others := sorted({*_filled(self)} - _HEAD - allowed)):
            raise ValueError(
                f"{self.kind} with {', '.join(others)}, expected none of these in a step of secure aggregation"
            )
        return self


_HEAD = {"protocol", "kind", "run", "round", "layout", "refused", "masking"}


def _parts(masking: Strict | None) -> set[str]:
    """The parts that are there."""
    return {*_filled(masking)} if masking else set()


def _filled(message: Strict) -> list[str]:
    """The fields that are not empty."""
    return [name for name in type(message).model_fields if getattr(message, name) not in (None, "", 0, {})]


class Delivery(Strict):
    """One request of a clinic to the URL where it waits for the next steps of a masked round, or the hub's reply.

    Attributes
    ----------
    number : int
        From the clinic: which delivery it has had last, 0 = none yet. From the hub: which one this is.
    text : str
        JSON: the clinic's `Reply` to that delivery, or the hub's next `Request`.
    error : str
        From the clinic: the type of the error with which its work has failed.
    """

    number: int = Field(default=0, ge=0)
    text: str = Field(default="", max_length=MAX_REPLY)
    error: str = Field(default="", max_length=100)


MEASURED = {"seconds", "device", "memory_bytes", "reconnects"}
"""Fields of a training reply about the clinic's work. The hub keeps them in records and metric lines, and exports those
that its `metrics.toml` names."""


def round_seed(seed: int, round_: int, clinic: str) -> int:
    """Seed of one clinic's work in one round: 63 bits from SHA-256, so that a resumed run repeats it exactly."""
    return int.from_bytes(hashlib.sha256(f"embryofl:{seed}:{round_}:{clinic}".encode()).digest()[:8], "big") >> 1
