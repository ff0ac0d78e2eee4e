"""What hub and clinics exchange in secure aggregation: strict schemas, and the bytes that are signed and hashed.

Every value has one spelling (lower-case hexadecimal, whole numbers, names in order), so that two texts that mean the same
are the same. Sizes are bounded. A message that is received is read by `read`. What a clinic signs begins with `VERSION`
and the kind of text, so that no signature serves for anything else that its key signs.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from embryofl.errors import ProtocolError, TooFewClinicsError
from embryofl.schema import Name, Sha256, Strict, explain
from embryofl.secagg.threshold import MAX_CLINICS, MIN_CLINICS, capped, threshold

VERSION = "embryofl secagg 1"
"""Begins every text that is signed, hashed or derived from; another version of the protocol has another number."""

MAX_MESSAGE = 1 << 16  # bytes of JSON; a roster of 50 clinics with the longest names has 28 kB
MAX_LENGTH = 1 << 28  # numbers in a vector, 1 GiB
MAX_WEIGHT = 10**9
MAX_CELLS = 30  # two splits, days 0 to 14
PRIME = 2**255 - 19  # of Curve25519 (RFC 7748)

SeedName = Literal["self", "pair"]
"""A clinic's two seeds: that of its own mask, and that of its key for the masks that it shares with each other clinic."""


def _reduced(value: str) -> str:
    if int.from_bytes(bytes.fromhex(value), "little") >= PRIME:
        raise ValueError("a second spelling of a key, expected a number below 2**255 - 19 (RFC 7748)")
    return value


PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$"), AfterValidator(_reduced)]  # X25519, little-endian
Signature = Annotated[str, Field(pattern=r"^([0-9a-f]{2}){8,104}$")]  # ECDSA, DER; of P-384 at most 104 bytes
Sealed = Annotated[str, Field(pattern=r"^[0-9a-f]{120}$")]  # nonce (12 bytes), two shares (32), tag (16)
ShareValue = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Message(Strict):
    """Numbers are not read from texts, nor whole numbers from others."""

    model_config = ConfigDict(strict=True)


M = TypeVar("M", bound=Message)


def read(kind: type[M], data: bytes) -> M:
    """Read a message that was received.

    Parameters
    ----------
    kind : type of Message
    data : bytes
        JSON.

    Raises
    ------
    ProtocolError
        When it is longer than `MAX_MESSAGE`, or not of this form.
    """
    if len(data) > MAX_MESSAGE:
        raise ProtocolError(f"{kind.__name__}: {len(data)} bytes, expected at most {MAX_MESSAGE}")
    try:
        return kind.model_validate_json(data)
    except ValidationError as exc:
        raise ProtocolError(f"{kind.__name__}: {explain(exc)}") from None


class Terms(Message):
    """What all clinics of an attempt must agree on: everything that decides what they put into their vectors.

    Attributes
    ----------
    run : str
    round : int
    kind : str
        Of the request, as in `embryofl.messages.Request`.
    attempt : int
        A round has another attempt, with new keys, when too few clinics were left in the one before.
    model : str
        SHA-256 of the global model.
    work : str
        `digest` of the run's settings, and of whatever else decides what is summed. A hub could otherwise let all clinics
        but one train with a learning rate of almost 0, so that the sum is that one's update.
    length : int
        Numbers in a vector: the update and whatever else is summed.
    bound : float
        Longest Euclidean norm of an update; longer ones are clipped. It is also the unit of the fixed point.
    """

    run: Name
    round: int = Field(ge=0, le=10**6)
    kind: Literal["train", "validate", "evaluate", "audit"]
    attempt: int = Field(ge=1, le=10**4)
    model: Sha256
    work: Sha256
    length: int = Field(ge=1, le=MAX_LENGTH)
    bound: float = Field(ge=1e-9, le=1e9)

    def digest(self) -> str:
        """SHA-256 of all but the attempt, hexadecimal: what another attempt at the round has in common with this one."""
        return hashlib.sha256(text_of("terms", self.model_dump(exclude={"attempt"}))).hexdigest()


def digest(work: BaseModel) -> str:
    """SHA-256 of a model's canonical JSON, hexadecimal, for `Terms.work`."""
    return hashlib.sha256(text_of("work", work.model_dump(mode="json"))).hexdigest()


class Advert(Message):
    """A clinic's keys for one attempt and its weight in the sum, signed with its enrolled key.

    Attributes
    ----------
    clinic : str
    weight : int
        Training embryos, or what the run's strategy makes of them by a public rule.
    cells : int
        Bit mask: which cells of the vector the clinic fills (`embryofl.pooled_metrics.filled_cells`); 0 in training.
    mask_key, encryption_key : str
        X25519 keys: for the masks that it shares with each other clinic, and for letters.
    commitment : str
        To the seed of its own mask (`embryofl.secagg.key_agreement.seed_commitment`).
    signature : str
        Over `text`.
    """

    clinic: Name
    weight: int = Field(ge=1, le=MAX_WEIGHT)
    cells: int = Field(ge=0, lt=1 << MAX_CELLS)
    mask_key: PublicKey
    encryption_key: PublicKey
    commitment: Sha256
    signature: Signature

    def text(self, terms: Terms) -> bytes:
        """The bytes that are signed."""
        return advert_text(terms, self.model_dump(exclude={"signature"}))


def advert_text(terms: Terms, fields: dict[str, Any]) -> bytes:
    """The bytes that are signed: the terms, and all `fields` of an `Advert` but its signature."""
    return text_of("advert", [terms.model_dump(), fields])


class Roster(Message):
    """The clinics of an attempt, in the order of their names. A clinic's shares have its place in this order, from 1.

    `drawn`: where a run's clinics are drawn into groups (`embryofl.secagg.groups`), all that were drawn and their weights
    then. The roster's clinics are of one group.
    """

    terms: Terms
    adverts: tuple[Advert, ...] = Field(min_length=MIN_CLINICS, max_length=MAX_CLINICS)
    drawn: dict[Name, Annotated[int, Field(ge=1, le=MAX_WEIGHT)]] = Field(max_length=MAX_CLINICS)

    @field_validator("adverts")
    @classmethod
    def _each_clinic_and_key_once(cls, value: tuple[Advert, ...]) -> tuple[Advert, ...]:
        _in_order([a.clinic for a in value])
        if shared := shared_values(value):
            raise ValueError(f"one key or commitment of {' and '.join(shared)}, expected another of each clinic")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """Of the clinics, in order."""
        return tuple(a.clinic for a in self.adverts)

    @property
    def threshold(self) -> int:
        """Survivors, confirmations and shares that this attempt needs."""
        return threshold(len(self.adverts))

    def digest(self) -> str:
        """SHA-256 of the terms and of everything that the clinics signed, hexadecimal: the attempt's identity. It does not
        depend on the signatures, which can be written in more than one way."""
        adverts = [a.model_dump(exclude={"signature"}) for a in self.adverts]
        drawn = [self.drawn] if self.drawn else []
        return hashlib.sha256(text_of("roster", [self.terms.model_dump(), adverts, *drawn])).hexdigest()

    @property
    def draw(self) -> str:
        """SHA-256 of the clinics that were drawn into groups and their weights; "" without groups."""
        return hashlib.sha256(text_of("drawn", self.drawn)).hexdigest() if self.drawn else ""

    def check_enough(self, count: int, what: str, least: int = 0) -> None:
        """Raise `TooFewClinicsError` unless there are as many as the threshold, and at `least` so many."""
        if count < (needed := max(self.threshold, least)):
            raise TooFewClinicsError(f"{count} {what}, expected at least {needed} of {len(self.names)}")

    def advert_of(self, name: str) -> Advert:
        """A clinic's advert."""
        return self.adverts[self.names.index(name)]

    def weights(self, cap: float) -> dict[str, float]:
        """By clinic, with the heaviest one's `capped`."""
        return capped({a.clinic: a.weight for a in self.adverts}, cap)

    def share(self, names: Collection[str], cap: float, among: Collection[str] | None = None) -> float:
        """The part that these clinics have of the weights of all, or of those `among` whom it is asked: in (0, 1]. None has
        more than the part `cap` of all (see `capped`)."""
        every, weights = self.names if among is None else among, self.weights(cap)
        return sum(weights[name] for name in self.names if name in names) / sum(
            weights[name] for name in self.names if name in every
        )


def shared_values(adverts: Iterable[Advert]) -> list[str]:
    """The first two clinics that have a key or a commitment in common (one clinic twice, if two of its own are equal)."""
    owners: dict[str, str] = {}
    for advert in adverts:
        for value in (advert.mask_key, advert.encryption_key, advert.commitment):
            if value in owners:
                return [owners[value], advert.clinic]
            owners[value] = advert.clinic
    return []


class Letter(Message):
    """One clinic's shares of another's two seeds, encrypted for it, with a commitment to each of the two."""

    sealed: Sealed
    self_commitment: Sha256
    pair_commitment: Sha256


class Letters(Message):
    """From a clinic: its letters by recipient, which is every clinic of the roster, also itself. To a clinic: by sender."""

    roster: Sha256
    letters: dict[Name, Letter] = Field(max_length=MAX_CLINICS)


class Statement(Message):
    """Which clinics' letters were passed on (`sharers`), and which clinics' masked vectors are in the sum (`survivors`)."""

    roster: Sha256
    sharers: tuple[Name, ...] = Field(max_length=MAX_CLINICS)
    survivors: tuple[Name, ...] = Field(max_length=MAX_CLINICS)

    @field_validator("sharers", "survivors")
    @classmethod
    def _each_clinic_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _in_order(value)
        return value

    @model_validator(mode="after")
    def _survivors_have_sent_letters(self) -> "Statement":
        if others := sorted({*self.survivors} - {*self.sharers}):
            raise ValueError(f"survivors {', '.join(others)} without letters, expected only clinics that sent them")
        return self

    def text(self) -> bytes:
        """The bytes that are signed."""
        return text_of("survivors", self.model_dump())


class Share(Message):
    """A share of one of a clinic's seeds."""

    clinic: Name
    seed: SeedName
    value: ShareValue


class Shares(Message):
    """What a clinic reveals: one share for each of the sharers, in order."""

    roster: Sha256
    shares: tuple[Share, ...] = Field(max_length=MAX_CLINICS)


def _in_order(names: Collection[str]) -> None:
    if [*names] != sorted({*names}):
        raise ValueError("clinics twice or out of order, expected each once, in the order of their names")


def text_of(kind: str, value: object) -> bytes:
    """What is signed or hashed: canonical JSON below a line with the kind of text."""
    body = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{VERSION} {kind}\n{body}".encode()
