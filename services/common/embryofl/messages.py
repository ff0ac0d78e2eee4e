"""What hub and clinics exchange in a round: one strict schema for both sides.

A message is one JSON text inside a Flower message; weights travel separately, as files on signed URLs. Unknown fields are
rejected, so that neither side ever acts on a message that it understands only in part.
"""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from embryofl.gardner import Agreement, Target
from embryofl.schema import Download, Name, Sha256, Strict
from embryofl.settings import RunSettings

PROTOCOL = 2  # raised when a message changes meaning; both sides reject another number
MAX_REPLY = 1 << 20  # bytes of JSON a reply may have
TEXT_CODE = 7_000
"""Requests and replies travel as the reason of a Flower error with this code. A message with content is three Flower
objects, each an HTTP request of about 4 ms to the SuperLink on each side; an error is part of the message's header.
flwr's own codes are below 100."""

CLINIC_PHASES = ("download", "evaluate", "train", "upload")
"""What a clinic does in a round, in this order."""

Seconds = Annotated[float, Field(ge=0, le=1e9)]


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
    former, to choose the final model. ``evaluate``: the run's final evaluation, on validation and test patients.
    """

    kind: Literal["train", "validate", "evaluate"]
    run: Name
    round: int = Field(ge=0)
    clinic: Name
    settings: RunSettings
    layout: str = Field(pattern=r"^[0-9a-f]{16}$")
    model: Download
    control: Download | None = None  # this clinic's drift correction (`RunSettings.control`), in the model's layout
    upload_url: str = Field(default="", pattern=r"^(/v1/.*)?$", max_length=1000)
    deadline: float  # Unix time in seconds after which a reply is late


class UploadReceipt(Strict):
    """The uploaded update: size in bytes and SHA-256."""

    size: int = Field(ge=1)
    sha256: Sha256


class Reply(_Versioned):
    """A clinic's reply. Metrics are sums over many embryos (`embryofl.metrics.ScoreSums` as a dict), never a score.

    `refused` is set, and everything else empty, when the clinic's policy blocks the request.
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
    personal: dict[Literal["validation", "test"], dict[str, Any]] = Field(default_factory=dict)  # of its personal model
    grades: dict[Literal["validation", "test"], dict[Target, Agreement]] = Field(default_factory=dict)
    seconds: dict[Literal["download", "evaluate", "train", "loading", "upload"], Seconds] = Field(default_factory=dict)
    device: str = Field(default="", max_length=40)
    memory_bytes: int = Field(default=0, ge=0, le=1 << 50)  # of the GPU; without one, of the process
    reconnects: int = Field(default=0, ge=0, le=10**9)  # since the clinic's process started


MEASURED = {"seconds", "device", "memory_bytes", "reconnects"}
"""Fields of a training reply about the clinic's work. The hub keeps them in records and metric lines, and exports those
that its `metrics.toml` names."""


def round_seed(seed: int, round_: int, clinic: str) -> int:
    """Seed of one clinic's work in one round: 63 bits from SHA-256, so that a resumed run repeats it exactly."""
    return int.from_bytes(hashlib.sha256(f"embryofl:{seed}:{round_}:{clinic}".encode()).digest()[:8], "big") >> 1
