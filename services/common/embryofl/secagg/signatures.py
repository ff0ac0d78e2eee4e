"""What is checked with the signatures of enrolled keys."""

from collections.abc import Mapping

from embryofl.clinic_keys import canonical, signed_by
from embryofl.errors import ProtocolError
from embryofl.secagg.key_agreement import check_key
from embryofl.secagg.messages import Advert, Roster, Terms

Keys = Mapping[str, str]
"""Enrolled keys (OpenSSH lines) by clinic: at the hub those of its store, at a clinic those it has pinned, and its own."""


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
    if not signed_by(key, advert.signature, advert.text(terms)):
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
    owners: dict[str, str] = {}
    for advert in roster.adverts:
        check_advert(advert, roster.terms, keys)
        enrolled = canonical(keys[advert.clinic])
        if enrolled in owners:
            raise ProtocolError(
                f"{owners[enrolled]} and {advert.clinic} have one enrolled key, expected another of each clinic",
                advert.clinic,
            )
        owners[enrolled] = advert.clinic
