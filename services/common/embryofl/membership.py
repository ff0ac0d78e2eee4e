"""What a clinic and its hub say to each other about membership: enrolment, status requests, a new key, leaving.

Everything is signed with the clinic's key over the bytes of the `*_text` functions.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from embryofl.data_statistics import DataStatistics
from embryofl.schema import ADDRESS, Download, Meaning, Name, Strict, explain

MAX_COUNT = 10**9  # of anything that a clinic tells of its data
SHOWS = "shows_metrics"  # in what a clinic tells when it joins: whether others may see its figures on their own


class Enrolment(Strict):
    """What a clinic sends to join: its name, the invite's secret, its public key and proof that it holds the key."""

    name: Name
    secret: str = Field(min_length=20, max_length=100)
    public_key: str = Field(max_length=1000)  # one OpenSSH line
    proof: str = Field(max_length=400)  # base64 ECDSA signature over `proof_text`
    meaning: Meaning = "quality"
    summary: dict[str, Any] = Field(default_factory=dict)

    @field_validator("summary")
    @classmethod
    def _can_be_shown(cls, value: dict[str, Any]) -> dict[str, Any]:
        """It is kept and shown to the coordinator: text, and numbers that a number in JSON can hold."""
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except ValueError:  # also a UnicodeEncodeError: half of a surrogate pair
            raise ValueError("text that is no Unicode, or a number that is none") from None
        if not _small_numbers(value):
            raise ValueError(f"numbers beyond {MAX_COUNT}")
        if not isinstance(value.get(SHOWS, False), bool):
            raise ValueError(f"{SHOWS} that is neither true nor false")
        if "statistics" in value:
            try:
                told = DataStatistics.model_validate(value["statistics"])
            except ValidationError as exc:
                raise ValueError(f"statistics of another form: {explain(exc)}") from None
            if told.clinics != 1:
                raise ValueError("statistics of more than one clinic")
        return value


class StatusRequest(Strict):
    """A clinic asks how it stands with the hub (suspended? last answer refused? what time is it there?). It asks only while
    it has nothing to do, so that the hub learns from it when a request has not reached the clinic.

    `proof` is an ECDSA signature, hexadecimal, over `text`. Nothing follows from an answer but what the clinic is told,
    and a `shows` of true counts only if it was asked just now, so a question that is heard and asked again later by
    somebody else does no harm.
    """

    name: Name
    asked: float  # Unix time by the clinic's clock
    session: str = Field(default="", pattern=r"^([0-9a-f]{16})?$")  # of the process that asks; "": a person asks
    knows: str = Field(default="", pattern=r"^([0-9a-f]{16})?$")  # digest of the statistics that it was told last
    trusts: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")  # `trust_mark` of the authorities that it trusts
    shows: bool | None = None  # whether others may see its figures on their own (its policy); None: of an older clinic
    proof: str = Field(max_length=400)

    def text(self) -> bytes:
        """The bytes that are signed."""
        return status_text(self.name, self.asked, self.session, self.trusts, self.shows)


class LeaveRequest(Strict):
    """A clinic leaves for good. `proof` is signed over `text`; `asked` (Unix time by the hub's clock) keeps it from being
    said again later."""

    name: Name
    asked: float
    proof: str = Field(max_length=400)

    def text(self) -> bytes:
        """The bytes that are signed."""
        return leaving_text(self.name, self.asked)


class KeyChange(Strict):
    """A clinic puts a new key in the place of its own. `proof` is signed with the old key, `new_proof` with the new one,
    both over `text`; `asked` as when leaving."""

    name: Name
    asked: float
    public_key: str = Field(max_length=1000)  # the new one, one OpenSSH line
    proof: str = Field(max_length=400)
    new_proof: str = Field(max_length=400)

    def text(self) -> bytes:
        """The bytes that are signed."""
        return key_change_text(self.name, self.asked, self.public_key)


class HubContact(Strict):
    """How the hub is reached and known: its addresses (host:port), the certificates of its authorities (PEM, one after the
    other), and the name of its own that its certificate carries ("": of an older hub, the name that is dialled)."""

    hubs: list[Annotated[str, Field(pattern=ADDRESS)]] = Field(min_length=1, max_length=50)
    ca: str = Field(max_length=50_000)
    server_name: str = Field(default="", max_length=200)


class RejectedReply(Strict):
    """An answer of the clinic's that the hub did not take."""

    run: Name
    round: int
    reason: str
    words: str
    time: float


class FinishedModel(Strict):
    """The model of the newest finished run that a clinic took part in: its weights, and a `model.json` for clinics."""

    run: Name
    weights: Download
    card: Download


class MembershipStatus(Strict):
    """How a clinic stands: enrolled, waiting, suspended, or its key never works again (revoked, left, refused); since when
    and why; its newest refusal; the hub's clock; the clinic's name at the hub ("": of an older hub, as it was); how the
    hub is reached from now on (None: of an older hub, or to a key that never works again, as it was); what the other
    clinics' images come to together, where that is news and there are enough of them; the newest finished model that it may
    fetch."""

    state: str
    since: float
    reason: str
    refused: RejectedReply | None
    time: float
    name: Name | Literal[""] = ""
    others: DataStatistics | None = None
    link: HubContact | None = None
    finished: FinishedModel | None = None


def status_text(name: str, asked: float, session: str = "", trusts: str = "", shows: bool | None = None) -> bytes:
    """The bytes a clinic signs when it asks how it stands."""
    more = "" if shows is None else f"\nshows {shows}"  # an older clinic signs without
    return f"embryofl standing\n{name}\n{asked!r}\n{session}\n{trusts}{more}".encode()


def trust_mark(ca: str) -> str:
    """By which a clinic says which authorities (PEM) it trusts."""
    return hashlib.sha256("".join(ca.split()).encode()).hexdigest()


def leaving_text(name: str, asked: float) -> bytes:
    """The bytes a clinic signs when it leaves."""
    return f"embryofl leaving\n{name}\n{asked!r}\n".encode()


def key_change_text(name: str, asked: float, public_key: str) -> bytes:
    """The bytes a clinic signs, with both keys, to change its key."""
    return f"embryofl key change\n{name}\n{asked!r}\n{public_key.strip()}\n".encode()


def proof_text(name: str, secret: str, public_key: str) -> bytes:
    """The bytes a joining clinic signs: binds its key to the name and to this invite."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return f"embryofl enrolment\n{name}\n{digest}\n{public_key.strip()}\n".encode()


def _small_numbers(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_small_numbers, value.values()))
    if isinstance(value, list):
        return all(map(_small_numbers, value))
    return not isinstance(value, int | float) or abs(value) <= MAX_COUNT
