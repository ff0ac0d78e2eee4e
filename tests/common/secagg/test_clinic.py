"""What a clinic rejects of a hub that does not follow the protocol, or of a hub and clinics that help it."""

import numpy as np
import pytest

from embryofl.errors import ProtocolError, SumRefusedError, TooFewClinicsError
from embryofl.secagg.clinic import ClinicSession
from embryofl.secagg.messages import Roster, Statement, digest
from embryofl.settings import RunSettings
from kits.secagg import Attempt, names_of, new_ledger, public_keys, revised, signer, zeros

ONE, TWO, THREE, FOUR, FIVE = names_of(5)


@pytest.fixture
def attempt() -> Attempt:
    return Attempt(zeros(5))


def advert_of(name, attempt, terms=None, weight=100, as_name=None):
    """What a clinic would send, signed with the key of `name`, also in another's name."""
    who = as_name or name
    keys = {**attempt.keys, who: public_keys([name])[name]}
    return ClinicSession(terms or attempt.terms, who, weight, signer(name), keys, new_ledger()).advert


# -- the roster -----------------------------------------------------------------------------------------------------
def test_roster_of_clinics_that_are_not_pinned_or_have_not_signed_is_rejected(attempt):
    roster = attempt.close_roster()
    one = attempt.clinics[ONE]
    *four, last = roster.adverts
    other = advert_of(FIVE, attempt)
    stranger = advert_of("clinic-06", attempt)
    for adverts, words in (
        ((*roster.adverts, stranger), "clinic-06 is not known"),
        ((*four, advert_of("clinic-06", attempt, as_name=FIVE)), "clinic-05 has not signed"),
        ((*four, revised(last, mask_key=other.mask_key)), "clinic-05 has not signed"),
        ((*four, revised(last, encryption_key=other.encryption_key)), "clinic-05 has not signed"),
        ((*four, revised(last, commitment=other.commitment)), "clinic-05 has not signed"),
        ((*four, revised(last, weight=1)), "clinic-05 has not signed"),
        ((*four, revised(last, cells=1)), "clinic-05 has not signed"),
        ((*four, revised(last, signature="30" * 100)), "clinic-05 has not signed"),
    ):
        with pytest.raises(ProtocolError, match=words):
            one.letters(revised(roster, adverts=adverts))
    one.letters(roster)


def test_cells_are_of_an_evaluation_alone():
    for kind, words in (("train", "clinic-01 fills cells of an update"), ("evaluate", "")):
        attempt = Attempt(zeros(3), limits={"cells": 5}, kind=kind)
        if words:
            with pytest.raises(ProtocolError, match=words):
                attempt.close_roster()
        else:
            assert [a.cells for a in attempt.close_roster().adverts] == [5, 5, 5]


@pytest.mark.parametrize(
    "change",
    [{"run": "run-0002"}, {"round": 8}, {"kind": "evaluate"}, {"attempt": 2}, {"model": "00" * 32}, {"bound": 2.0}],
)
def test_advert_is_not_taken_over_from_another_round_attempt_or_model(attempt, change):
    """A hub that replays a clinic's earlier advert, or that has sent it another model than the others."""
    roster = attempt.close_roster()
    replayed = advert_of(FIVE, attempt, revised(attempt.terms, **change))
    with pytest.raises(ProtocolError, match="clinic-05 has not signed these keys, weight and cells for run run-0001"):
        attempt.clinics[ONE].letters(revised(roster, adverts=(*roster.adverts[:4], replayed)))


def test_clinics_that_were_sent_other_settings_do_not_share_a_roster(attempt):
    """With a learning rate of almost 0 for all but one clinic, the sum would be that clinic's update."""
    slow = revised(attempt.terms, work=digest(RunSettings(learning_rate=1e-30)))
    fast = revised(attempt.terms, work=digest(RunSettings()))
    others = [advert_of(name, attempt, slow) for name in (TWO, THREE, FOUR, FIVE)]
    target = attempt.session(ONE, fast)
    for terms, words in ((fast, "clinic-02 has not signed"), (slow, "a roster with the terms")):
        with pytest.raises(ProtocolError, match=words):
            target.letters(Roster(terms=terms, adverts=(target.advert, *others), drawn={}))


def test_roster_without_or_with_another_advert_of_the_clinic_itself_is_rejected(attempt):
    roster = attempt.close_roster()
    for adverts in (roster.adverts[1:], (advert_of(ONE, attempt), *roster.adverts[1:])):
        with pytest.raises(ProtocolError, match="without the advert of clinic-01, or with another one"):
            attempt.clinics[ONE].letters(revised(roster, adverts=adverts))


def test_second_different_roster_is_rejected_and_the_same_one_gives_the_same_letters(attempt):
    roster = attempt.close_roster()
    letters = attempt.clinics[ONE].letters(roster)
    assert attempt.clinics[ONE].letters(roster) == letters
    with pytest.raises(ProtocolError, match="a second, different roster"):
        attempt.clinics[ONE].letters(revised(roster, adverts=roster.adverts[:4]))


def test_two_names_with_one_enrolled_key_do_not_count_twice(attempt):
    """A clinic could otherwise be surrounded by one other, which enrolled under several names."""
    alias = advert_of(TWO, attempt, as_name=THREE)
    keys = {**attempt.keys, THREE: attempt.keys[TWO]}
    target = ClinicSession(attempt.terms, ONE, 100, signer(ONE), keys, new_ledger())
    roster = Roster(terms=attempt.terms, adverts=(target.advert, advert_of(TWO, attempt), alias), drawn={})
    with pytest.raises(ProtocolError, match="clinic-02 and clinic-03 have one enrolled key"):
        target.letters(roster)


def test_key_of_low_order_is_rejected_though_its_clinic_signed_it(attempt):
    """The mask that it shares with others would be known to everybody."""
    roster = attempt.close_roster()
    weak = revised(roster.adverts[4], mask_key="00" * 32)
    weak = revised(weak, signature=signer(FIVE)(weak.text(attempt.terms)))
    with pytest.raises(ProtocolError, match="not of low order") as caught:
        attempt.clinics[ONE].letters(revised(roster, adverts=(*roster.adverts[:4], weak)))
    assert caught.value.clinic == FIVE


def test_clinic_does_not_become_most_of_a_roster():
    heavy = Attempt(zeros(5), {**dict.fromkeys(names_of(5), 1), TWO: 99})
    roster = heavy.close_roster()
    with pytest.raises(
        SumRefusedError,
        match="clinic-02 would be 97% of a sum over 5 clinics without the heaviest third of them, expected at most 80%",
    ):
        heavy.clinics[TWO].letters(roster)
    heavy.clinics[ONE].letters(roster)


def test_clinic_does_not_become_most_of_a_sum_by_the_weight_of_a_clinic_that_helps_the_hub():
    heavy = Attempt(zeros(3), {ONE: 1000, TWO: 20, THREE: 300})
    roster = heavy.close_roster()
    with pytest.raises(ProtocolError, match="clinic-01 would be 98% of a sum over 3 clinics"):
        heavy.clinics[ONE].letters(roster)


def test_clinic_does_not_become_most_of_a_sum_because_others_drop_out():
    """The roster is well mixed, but the hub leaves out a clinic that carries weight, and another one may help it."""
    heavy = Attempt(zeros(4), {ONE: 100, TWO: 100, THREE: 100, FOUR: 1})
    statement = heavy.until_statement(late=[TWO])
    with pytest.raises(ProtocolError, match="clinic-01 would be 99% of a sum over 3 clinics"):
        heavy.clinics[ONE].confirm(statement)
    heavy.clinics[FOUR].confirm(statement)


def test_roster_smaller_than_the_clinic_accepts_is_rejected():
    """The hub chooses the roster: it could choose those that help it."""
    small = Attempt(zeros(4), limits={"min_survivors": 5})
    with pytest.raises(TooFewClinicsError, match="4 clinics in a roster, expected at least 5 of 4"):
        small.clinics[ONE].letters(small.close_roster())


def test_roster_of_which_a_smaller_sum_is_possible_than_the_clinic_accepts_is_rejected():
    """Four of five are enough for a sum: the clinic could not prevent it once its vector is in it."""
    for clinics, accepted in ((5, False), (6, True)):
        strict = Attempt(zeros(clinics), limits={"min_sum": 5})
        roster = strict.close_roster()
        if accepted:
            assert strict.clinics[ONE].letters(roster)
        else:
            with pytest.raises(SumRefusedError, match="a sum over 4 of 5 clinics is possible.*expected at least 5"):
                strict.clinics[ONE].letters(roster)


def test_letters_survivors_and_confirmations_are_as_many_as_the_clinic_asks_for():
    """Four of five are the attempt's threshold; this clinic asks for all."""
    strict = Attempt(zeros(5), limits={"min_survivors": 5})
    strict.exchange_letters()
    one, vector = strict.clinics[ONE], strict.vector(ONE)
    fewer = revised(strict.letters[ONE], letters=dict(list(strict.letters[ONE].letters.items())[:4]))
    with pytest.raises(TooFewClinicsError, match="4 senders of letters, expected at least 5 of 5"):
        one.mask(vector, fewer)
    strict.mask()
    statement = strict.close_sum()
    with pytest.raises(TooFewClinicsError, match="4 survivors, expected at least 5 of 5"):
        one.confirm(revised(statement, survivors=statement.survivors[:4]))
    strict.confirm(gone=[FIVE])
    with pytest.raises(TooFewClinicsError, match="4 valid confirmations, expected at least 5 of 5"):
        one.reveal(statement, strict.unmasking.confirmations())


# -- letters and the vector -----------------------------------------------------------------------------------------
def test_keys_mask_one_vector_once(attempt):
    """Of two vectors under one mask the hub would see the difference; with other letters it would see a mask."""
    attempt.exchange_letters()
    one, letters, vector = attempt.clinics[ONE], attempt.letters[ONE], attempt.vector(ONE)
    masked = one.mask(vector, letters)
    assert np.array_equal(one.mask(vector, letters), masked) and not vector.any()
    fewer = revised(letters, letters=dict(list(letters.letters.items())[:4]))
    for other, others in ((vector + np.uint32(1), letters), (vector, fewer)):
        with pytest.raises(ProtocolError, match="keys mask one vector"):
            one.mask(other, others)


def test_letters_that_are_not_as_they_were_sent_are_rejected(attempt):
    attempt.exchange_letters()
    one, right, vector = attempt.clinics[ONE], attempt.letters[ONE], attempt.vector(ONE)
    by_sender = right.letters
    spoilt = revised(by_sender[TWO], sealed="00" * 60)
    foreign = attempt.letters[THREE].letters[TWO]
    for letters, error, words in (
        ({**by_sender, TWO: spoilt}, ProtocolError, "letter from clinic-02 to clinic-01 cannot be opened"),
        ({**by_sender, TWO: foreign}, ProtocolError, "letter from clinic-02 to clinic-01 cannot be opened"),
        ({**by_sender, TWO: by_sender[THREE], THREE: by_sender[TWO]}, ProtocolError, "cannot be opened"),
        ({**by_sender, "clinic-09": by_sender[TWO]}, ProtocolError, "letters from clinic-09"),
        ({n: v for n, v in by_sender.items() if n != ONE}, ProtocolError, "without that of clinic-01 to itself"),
        ({n: by_sender[n] for n in names_of(3)}, TooFewClinicsError, "3 senders of letters, expected at least 4 of 5"),
    ):
        with pytest.raises(error, match=words):
            one.mask(vector, revised(right, letters=letters))
    with pytest.raises(ProtocolError, match="letters of roster"):
        one.mask(vector, revised(right, roster="00" * 32))
    one.mask(vector, right)


def test_letters_of_another_attempt_are_not_opened(attempt):
    """Of the same round with the same clinics: the hub relabels them."""
    earlier = Attempt(zeros(5))
    earlier.exchange_letters()
    attempt.exchange_letters()
    replayed = revised(earlier.letters[ONE], roster=attempt.roster.digest())
    with pytest.raises(ProtocolError, match="cannot be opened"):
        attempt.clinics[ONE].mask(attempt.vector(ONE), replayed)


def test_vector_of_another_type_or_length_is_rejected(attempt):
    attempt.exchange_letters()
    for vector in (
        np.zeros(39, "<u4"),
        np.zeros((40, 1), "<u4"),
        np.zeros(40, "<i4"),
        np.zeros(40, ">u4"),
        np.zeros(40),
    ):
        with pytest.raises(ProtocolError, match=r"expected uint32 \(40,\)"):
            attempt.clinics[ONE].mask(vector, attempt.letters[ONE])


# -- the statement --------------------------------------------------------------------------------------------------
def test_clinic_confirms_one_statement_in_an_attempt(attempt):
    """A clinic has survived or has not: with a share of both of its seeds, the hub would see its vector."""
    statement = attempt.until_statement()
    one = attempt.clinics[ONE]
    assert one.confirm(statement) and one.confirm(statement)
    dead = revised(statement, survivors=statement.survivors[:4])
    with pytest.raises(ProtocolError, match="a clinic has survived or has not"):
        one.confirm(dead)
    signatures = {n: attempt.clinics[n].confirm(statement) for n in statement.survivors}
    with pytest.raises(ProtocolError, match="another statement than this clinic has confirmed"):
        one.reveal(dead, signatures)


def test_statement_that_is_not_of_this_attempt_or_sum_is_rejected(attempt):
    statement = attempt.until_statement()
    one, two = attempt.clinics[ONE], attempt.clinics[TWO]
    four = statement.survivors[:4]
    for wrong, error, words in (
        (revised(statement, roster="00" * 32), ProtocolError, "about another roster"),
        (Statement(roster=statement.roster, sharers=four, survivors=four), ProtocolError, "with letters from"),
        (revised(statement, survivors=statement.survivors[1:]), ProtocolError, "survivors without clinic-01"),
        (revised(statement, survivors=(ONE,)), TooFewClinicsError, "1 survivors, expected at least 4 of 5"),
        (revised(statement, survivors=(ONE, TWO, THREE)), TooFewClinicsError, "3 survivors, expected at least 4 of 5"),
    ):
        with pytest.raises(error, match=words):
            one.confirm(wrong)
    assert one.confirm(statement) and two.confirm(statement)


@pytest.mark.parametrize("valid", range(1, 4))
def test_no_share_is_revealed_without_enough_confirmations_of_the_same_statement(attempt, valid):
    statement = attempt.until_statement()
    signatures = {n: attempt.clinics[n].confirm(statement) for n in names_of(4)}
    kept = dict(list(signatures.items())[:valid])
    copied = {**kept, **dict.fromkeys(names_of(5)[valid:], kept[ONE])}
    other = revised(statement, survivors=statement.survivors[:4])
    of_another = {**kept, FIVE: signer(FIVE)(other.text()), FOUR: signer(FOUR)(other.text())}
    foreign = {**kept, "clinic-09": signer("clinic-09")(statement.text())}
    for some in (kept, copied, of_another, foreign, {**kept, FIVE: "not hexadecimal", FOUR: "", THREE: "ab"}):
        with pytest.raises(TooFewClinicsError, match=r"[123] valid confirmations, expected at least 4 of 5"):
            attempt.clinics[ONE].reveal(statement, some)
    assert len(attempt.clinics[ONE].reveal(statement, signatures).shares) == 5


def test_confirmation_of_a_clinic_that_is_not_in_the_sum_does_not_count(attempt):
    statement = attempt.until_statement(late=[FIVE])
    signatures = {n: attempt.clinics[n].confirm(statement) for n in names_of(3)}
    with pytest.raises(TooFewClinicsError, match="3 valid confirmations, expected at least 4 of 5"):
        attempt.clinics[ONE].reveal(statement, {**signatures, FIVE: signer(FIVE)(statement.text())})


def test_shares_are_of_one_seed_for_each_clinic(attempt):
    statement = attempt.until_statement(late=[FIVE])
    attempt.confirm()
    shares = attempt.clinics[ONE].reveal(statement, attempt.unmasking.confirmations())
    assert [(s.clinic, s.seed) for s in shares.shares] == [(n, "pair" if n == FIVE else "self") for n in names_of(5)]


@pytest.mark.parametrize("step", ["mask", "confirm", "reveal"])
def test_steps_before_the_roster_are_rejected(attempt, step):
    attempt.until_statement()
    fresh = attempt.session(ONE)
    arguments = {
        "mask": (attempt.vector(ONE), attempt.letters[ONE]),
        "confirm": (attempt.statement,),
        "reveal": (attempt.statement, {}),
    }
    with pytest.raises(ProtocolError, match="expected the roster"):
        getattr(fresh, step)(*arguments[step])


def test_statement_before_anything_was_masked_is_rejected(attempt):
    attempt.exchange_letters()
    statement = Statement(roster=attempt.roster.digest(), sharers=attempt.roster.names, survivors=attempt.roster.names)
    with pytest.raises(ProtocolError, match="before anything was masked"):
        attempt.clinics[ONE].confirm(statement)
    with pytest.raises(ProtocolError, match="another statement than this clinic has confirmed"):
        attempt.clinics[ONE].reveal(statement, {})
