"""What the hub rejects of clinics that do not follow the protocol; each rejection names the clinic and changes nothing."""

import numpy as np
import pytest

from embryofl.errors import ProtocolError, TooFewClinicsError
from embryofl.secagg.hub import HubSession
from embryofl.secagg.messages import Letters
from kits.secagg import Attempt, names_of, public_keys, revised, signer, zeros

ONE, TWO, THREE, FOUR = names_of(4)


@pytest.fixture
def attempt() -> Attempt:
    return Attempt(zeros(4))


def rejected(clinic, words):
    return pytest.raises(ProtocolError, match=words, check=lambda error: error.clinic == clinic)


def test_advert_that_is_not_signed_for_these_terms_is_rejected(attempt):
    advert = attempt.clinics[ONE].advert
    stale = attempt.session(ONE, revised(attempt.terms, attempt=2)).advert
    for wrong in (revised(advert, weight=101), stale):
        with rejected(ONE, "clinic-01 has not signed"):
            attempt.hub.take_advert(wrong)
    with rejected("clinic-09", "clinic-09 is not known, expected one of clinic-01, clinic-02"):
        attempt.hub.take_advert(revised(advert, clinic="clinic-09"))


def test_restarted_clinic_replaces_its_advert_until_the_roster_is_closed(attempt):
    attempt.hub.take_advert(attempt.clinics[ONE].advert)
    attempt.clinics[ONE] = attempt.session(ONE)
    roster = attempt.close_roster()
    assert roster.advert_of(ONE) == attempt.clinics[ONE].advert
    with rejected(ONE, "the roster is closed"):
        attempt.hub.take_advert(attempt.session(ONE).advert)
    assert attempt.hub.close_roster() == roster


def test_clinic_that_copies_anothers_key_does_not_spoil_the_roster(attempt):
    first, second = attempt.clinics[ONE].advert, attempt.clinics[TWO].advert
    attempt.hub.take_advert(first)
    copied = revised(second, commitment=first.commitment)
    copied = revised(copied, signature=signer(TWO)(copied.text(attempt.terms)))
    with rejected(TWO, "uses a key or a commitment twice"):
        attempt.hub.take_advert(copied)
    attempt.close_roster()


def test_roster_has_three_to_fifty_clinics(attempt):
    for name in (ONE, TWO):
        attempt.hub.take_advert(attempt.clinics[name].advert)
    with pytest.raises(TooFewClinicsError, match="adverts of 2 clinics, expected at least 3"):
        attempt.hub.close_roster()
    crowd = Attempt(zeros(51, 1))
    with rejected("clinic-51", "a clinic more than the 50 of a full roster"):
        crowd.close_roster()
    assert len(crowd.hub.close_roster().names) == 50


def test_letters_are_of_this_roster_from_one_of_its_clinics_and_to_each_of_them(attempt):
    roster = attempt.close_roster()
    letters = attempt.clinics[ONE].letters(roster)
    fewer = revised(letters, letters={n: letters.letters[n] for n in (TWO, THREE)})
    more = revised(letters, letters={**letters.letters, "clinic-09": letters.letters[TWO]})
    with rejected("clinic-09", "letters from clinic-09, expected one of"):
        attempt.hub.take_letters("clinic-09", letters)
    for wrong in (fewer, more, revised(letters, roster="00" * 32), Letters(roster=letters.roster, letters={})):
        with rejected(ONE, "letters of another roster, or to"):
            attempt.hub.take_letters(ONE, wrong)
    attempt.hub.take_letters(ONE, letters)
    attempt.hub.take_letters(ONE, letters)  # sent again because the reply was lost
    with rejected(ONE, "other letters from clinic-01 than before"):
        attempt.hub.take_letters(ONE, revised(letters, letters={**letters.letters, TWO: letters.letters[THREE]}))


def test_letters_are_passed_on_to_those_who_sent_theirs_and_nobody_joins_later(attempt):
    roster = attempt.close_roster()
    for name in (ONE, TWO, THREE):
        attempt.hub.take_letters(name, attempt.clinics[name].letters(roster))
    with rejected(ONE, "expected one of those that were passed on: none yet"):
        attempt.hub.letters_for(ONE)
    assert attempt.hub.close_letters() == (ONE, TWO, THREE) == attempt.hub.close_letters()
    assert sorted(attempt.hub.letters_for(ONE).letters) == [ONE, TWO, THREE]
    with rejected(FOUR, "letters to clinic-04 are asked for"):
        attempt.hub.letters_for(FOUR)
    with rejected(FOUR, "passed on already"):
        attempt.hub.take_letters(FOUR, attempt.clinics[FOUR].letters(roster))
    with rejected(FOUR, "sent no letters"):
        attempt.hub.take_masked(FOUR, np.zeros(40, "<u4"))


def test_vector_is_taken_once_in_its_form_and_until_the_sum_is_closed(attempt):
    attempt.exchange_letters()
    for vector in (np.zeros(39, "<u4"), np.zeros((40, 1), "<u4"), np.zeros(40, "<i8"), np.zeros(40, "<f4")):
        with rejected(ONE, r"from clinic-01, expected uint32 \(40,\)"):
            attempt.hub.take_masked(ONE, vector)
    attempt.mask(late=[FOUR])
    with rejected(ONE, "or a second one"):
        attempt.hub.take_masked(ONE, np.zeros(40, "<u4"))
    attempt.close_sum()
    with rejected(FOUR, "after the sum was closed"):
        attempt.hub.take_masked(FOUR, np.zeros(40, "<u4"))
    attempt.confirm()
    attempt.reveal()
    assert np.array_equal(attempt.unmasking.total(), attempt.plain)


def test_steps_out_of_order_are_rejected(attempt):
    fresh = HubSession(attempt.terms, public_keys(attempt.names))
    roster = attempt.close_roster()
    letters = attempt.clinics[ONE].letters(roster)
    for step in (lambda: fresh.take_letters(ONE, letters), fresh.close_letters, fresh.close_sum):
        with pytest.raises(ProtocolError, match="expected close_roster first"):
            step()
    with pytest.raises(TooFewClinicsError, match="0 masked vectors"):
        attempt.hub.close_sum()
