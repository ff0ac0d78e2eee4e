"""What a clinic sends to its hub about its membership, and the hub's status: enrolment, status, a new key, leaving.

Everything is signed with the clinic's key: an enrolment over `proof_text`, a request over its own `text`.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from embryofl.clinic_keys import signed_by_authority
from embryofl.data_statistics import DataStatistics
from embryofl.protocol import Program
from embryofl.schema import ADDRESS, Download, Meaning, Name, Sha256, Strict, explain

MAX_COUNT = 10**9  # of anything that a clinic reports of its data
MAX_HOLD_S = 30.0  # seconds
MAX_CHANGES = 10  # of a clinic's key that other clinics are shown
SHOWS = "shows_metrics"  # key of the enrolment's summary: whether other clinics may see this clinic's own metrics
METRICS = "metrics"  # the same: which metrics it releases
PROGRAM = "program"  # the same: what it runs (`Program`); the hub adds it

Releases = Literal["own", "pooled", "none"]
"""Which metrics a clinic releases to the hub (its policy): its own sums in every round; only what is summed over several
clinics under masks, once a run and split, at the end; or none."""


def count_labelled(summary: dict[str, Any]) -> int | None:
    """Upper bound on the labelled images that an enrolment's summary reports ("<5" counts as 4); None if it has none."""
    try:
        counts = [by_label[value] for by_label in summary["counts"].values() for value in ("0", "1")]
    except (KeyError, TypeError, AttributeError):
        return None
    return sum(c if isinstance(c, int) else 4 for c in counts)


class Enrolment(Strict):
    """What a clinic sends to join: its name, the invite's secret, its public key and proof that it holds the key."""

    name: Name
    secret: str = Field(min_length=20, max_length=100)
    public_key: str = Field(max_length=1000)  # one OpenSSH line
    proof: str = Field(max_length=400)  # ECDSA signature, hexadecimal, over `proof_text`
    meaning: Meaning = "quality"
    program: Program
    summary: dict[str, Any]

    @field_validator("summary")
    @classmethod
    def _can_be_shown(cls, value: dict[str, Any]) -> dict[str, Any]:
        """It is stored and shown to the coordinator, so it must hold nothing but Unicode text and finite numbers."""
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except ValueError:  # also a UnicodeEncodeError: half of a surrogate pair
            raise ValueError("text that is not Unicode, or a number that is not finite") from None
        if not _small_numbers(value):
            raise ValueError(f"numbers beyond {MAX_COUNT}")
        if count_labelled(value) is None:  # without it, nothing would bound the weight of the clinic's updates
            raise ValueError("no counts of images by day and label")
        if not isinstance(value.get(SHOWS, False), bool):
            raise ValueError(f"{SHOWS} that is neither true nor false")
        if value.get(METRICS, "own") not in get_args(Releases):
            raise ValueError(f"{METRICS} that are not one of {', '.join(get_args(Releases))}")
        if "statistics" in value:
            try:
                reported = DataStatistics.model_validate(value["statistics"])
            except ValidationError as exc:
                raise ValueError(f"statistics of another form: {explain(exc)}") from None
            if reported.clinics != 1:
                raise ValueError("statistics of more than one clinic")
        return value


class StatusRequest(Strict):
    """A clinic asks for its status: suspended, last reply rejected, the hub's time. It asks only while it has nothing to
    do, so that the hub notices when a request has not reached the clinic.

    `proof` is an ECDSA signature, hexadecimal, over `text`. Replaying a request does no harm: it changes nothing but
    `shows`, `metrics` and `program`, and there only a step towards less counts if it was not signed just now.
    """

    name: Name
    asked: float  # Unix time by the clinic's clock
    session: str = Field(default="", pattern=r"^([0-9a-f]{16})?$")  # of the trainer's process; "": a command asks
    knows: str = Field(default="", pattern=r"^([0-9a-f]{16})?$")  # digest of the others' statistics it has; "": none
    trusts: Sha256  # `trust_mark` of the authorities that it trusts
    shows: bool  # whether other clinics may see its own metrics (its policy)
    metrics: Releases  # which metrics it releases (its policy)
    program: Program
    hold: float = Field(
        default=0.0, ge=0, le=MAX_HOLD_S
    )  # how long the answer may wait for a request to this clinic, s
    proof: str = Field(max_length=400)

    def text(self) -> bytes:
        """The bytes that are signed."""
        start = f"embryofl standing\n{self.name}\n{self.asked!r}\n{self.session}\n"
        runs = f"{self.program.version} {self.program.protocol}"
        return f"{start}{self.trusts}\nshows {self.shows}\nmetrics {self.metrics}\nruns {runs}".encode()


class LeaveRequest(Strict):
    """A clinic leaves for good. `proof` is signed over `text`; `asked` (Unix time by the hub's clock) prevents a replay."""

    name: Name
    asked: float
    proof: str = Field(max_length=400)

    def text(self) -> bytes:
        """The bytes that are signed."""
        return f"embryofl leaving\n{self.name}\n{self.asked!r}\n".encode()


class KeyChange(Strict):
    """A clinic replaces its key. `proof` is signed with the old key, `new_proof` with the new one, both over `text`;
    `asked` as when leaving.

    The hub keeps it and shows it to the other clinics, which know the old key. It is good for this clinic at this hub
    alone: it names the clinic, and one of the hub's certificate authorities (`authorities`), whose key no other hub has.
    """

    name: Name
    asked: float
    authority: Sha256
    public_key: str = Field(max_length=1000)  # the new one, one OpenSSH line
    proof: str = Field(max_length=400)
    new_proof: str = Field(max_length=400)

    def text(self) -> bytes:
        """The bytes that are signed."""
        start = f"embryofl key change\n{self.name}\n{self.asked!r}\n{self.authority}\n"
        return f"{start}{self.public_key.strip()}\n".encode()


class HubContact(Strict):
    """How to reach and trust the hub: its addresses (host:port), the certificates of its authorities (PEM, one after the
    other), and the name that its own certificate carries. `issued`: when the hub stated it, in milliseconds of Unix time; a
    later statement has a higher number, whatever the hub's clock says. 0: unknown, so that any statement is later."""

    hubs: list[Annotated[str, Field(pattern=ADDRESS)]] = Field(min_length=1, max_length=50)
    ca: str = Field(max_length=50_000)
    server_name: str = Field(min_length=1, max_length=200)
    issued: int = Field(default=0, ge=0)


class SignedContact(Strict):
    """A hub contact, signed by one of the hub's authorities. The gateway's key, which its TLS needs at every moment, cannot
    make one: who has stolen it poses as the hub until it is replaced, but changes nobody's trust.

    `signature` is an ECDSA signature with SHA-256, hexadecimal, over `contact_text`.
    """

    contact: HubContact
    signature: str = Field(max_length=400)

    def replaces(self, known: HubContact) -> bool:
        """Whether a clinic that knows a contact believes this one: an authority that it trusts has signed it, and it is not
        older than what it knows."""
        signed = signed_by_authority(known.ca, self.signature, contact_text(self.contact))
        return signed and self.contact.issued >= known.issued


class RejectedReply(Strict):
    """A reply of the clinic's that the hub rejected."""

    run: Name
    round: int
    reason: str
    words: str
    time: float


class FinishedModel(Strict):
    """The final model of the newest finished run that a clinic took part in: weights, and a `model.json` for clinics."""

    run: Name
    weights: Download
    card: Download


class MembershipStatus(Strict):
    """A clinic's status.

    Attributes
    ----------
    state : str
        enrolled, waiting, suspended; or the key never works again: revoked, left, refused, replaced.
    since, reason : float, str
        Since when (Unix time) and why.
    refused : RejectedReply or None
        Its newest rejected reply.
    time : float
        The hub's clock.
    name : str
        The clinic's name at the hub.
    others : DataStatistics or None
        The other clinics' pooled image statistics, if they are new and there are enough of them.
    link : SignedContact or None
        How to reach the hub from now on; None for a key that never works again.
    finished : FinishedModel or None
        The newest final model that it may download.
    work : bool
        A request that was held is answered because there may be work for the clinic at the SuperLink.
    """

    state: str
    since: float
    reason: str
    refused: RejectedReply | None
    time: float
    name: Name
    others: DataStatistics | None = None
    link: SignedContact | None = None
    finished: FinishedModel | None = None
    work: bool = False


def contact_text(contact: HubContact) -> bytes:
    """The bytes that the hub's authority signs."""
    return b"embryofl contact\n" + json.dumps(contact.model_dump(), sort_keys=True).encode()


def trust_mark(ca: str) -> str:
    """Digest by which a clinic names the authorities (PEM) it trusts."""
    return hashlib.sha256("".join(ca.split()).encode()).hexdigest()


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
