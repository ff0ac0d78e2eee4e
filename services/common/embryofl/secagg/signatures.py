"""Signatures of enrolled keys (ECDSA with SHA-256, as `ClinicIdentity.sign` makes them), and what is checked with them."""

from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from embryofl.errors import ProtocolError
from embryofl.secagg.key_agreement import check_key
from embryofl.secagg.messages import Advert, Roster, Terms

Keys = Mapping[str, ec.EllipticCurvePublicKey]
"""Enrolled public keys by clinic: at the hub those of its store, at a clinic those that it has pinned, and its own."""


def verify(key: ec.EllipticCurvePublicKey, text: bytes, signature: str) -> bool:
    """Whether a signature, hexadecimal, is valid."""
    try:
        key.verify(bytes.fromhex(signature), text, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def check_advert(advert: Advert, terms: Terms, keys: Keys) -> None:
    """Check who made an advert, and that its keys can be used.

    Raises
    ------
    ProtocolError
        When the clinic is not known, or has not signed the advert for these terms; on a key of low order, and on cells
        in training.
    """
    key = keys.get(advert.clinic)
    if key is None:
        raise ProtocolError(f"{advert.clinic} is not known, expected one of {', '.join(sorted(keys))}", advert.clinic)
    if not verify(key, advert.text(terms), advert.signature):
        raise ProtocolError(
            f"{advert.clinic} has not signed these keys, weight and cells for run {terms.run}, round {terms.round}, "
            f"attempt {terms.attempt} and this model; expected its signature",
            advert.clinic,
        )
    if advert.cells and terms.kind == "train":
        raise ProtocolError(
            f"{advert.clinic} fills cells of an update, expected none but in an evaluation", advert.clinic
        )
    check_key(advert.mask_key, advert.clinic)
    check_key(advert.encryption_key, advert.clinic)


def check_roster(roster: Roster, keys: Keys) -> None:
    """Check every advert of a roster, and that its clinics have different enrolled keys.

    Raises
    ------
    ProtocolError
        As `check_advert`; and when two names have one enrolled key: they would be one clinic that counts twice.
    """
    owners: dict[bytes, str] = {}
    for advert in roster.adverts:
        check_advert(advert, roster.terms, keys)
        enrolled = keys[advert.clinic].public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if enrolled in owners:
            raise ProtocolError(
                f"{owners[enrolled]} and {advert.clinic} have one enrolled key, expected another of each clinic",
                advert.clinic,
            )
        owners[enrolled] = advert.clinic
