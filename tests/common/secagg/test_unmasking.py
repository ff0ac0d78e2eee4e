"""Unmasking at the hub: wrong shares and confirmations are recognised and their clinic named, and a restarted hub gets the
same bits."""

import json
from itertools import combinations

import numpy as np
import pytest

from embryofl.errors import ProtocolError, TooFewClinicsError
from embryofl.secagg.key_agreement import self_mask_key
from embryofl.secagg.masks import Mask, apply_masks
from embryofl.secagg.unmasking import ClosedSum, Unmasking
from kits.secagg import Attempt, names_of, public_keys, revised, signer, updates_of, zeros

ONE, TWO, THREE, FOUR, FIVE = names_of(5)


def rejected(clinic, words):
    return pytest.raises(ProtocolError, match=words, check=lambda error: error.clinic == clinic)


def test_hub_that_was_killed_after_the_sum_was_closed_gets_the_same_bits():
    updates, weights = updates_of(4, 5_000)
    attempt = Attempt(updates, weights)
    statement = attempt.until_statement(late=[FOUR])
    closed, masked = attempt.hub.close_sum(), attempt.hub.masked_sum.tobytes()
    attempt.confirm()
    attempt.reveal()
    total = attempt.unmasking.total().copy()
    assert np.array_equal(total, attempt.plain) and attempt.unmasking.total() is attempt.hub.masked_sum
    restored = ClosedSum.model_validate_json(closed.model_dump_json())
    attempt.unmasking = Unmasking(restored, np.frombuffer(bytearray(masked), "<u4"), attempt.keys)
    assert attempt.unmasking.statement == statement
    attempt.confirm()
    attempt.reveal()
    assert np.array_equal(attempt.unmasking.total(), total)


def test_total_asked_for_twice_is_the_same():
    attempt = Attempt(updates_of(3, 50)[0])
    assert np.array_equal(attempt.run().copy(), attempt.unmasking.total())


@pytest.mark.parametrize("count", [6, 10])
def test_sum_is_found_in_one_try_though_as_many_clinics_as_may_drop_out_reveal_wrong_shares(count):
    """The first in the order: of 30 clinics, more ways to choose 21 shares begin with a wrong one than anyone could try."""
    updates, weights = updates_of(count, 50)
    attempt = Attempt(updates, weights)
    statement = attempt.until_statement()
    attempt.confirm()
    lying = attempt.names[: count - attempt.roster.threshold]
    for name in attempt.names:
        shares = attempt.clinics[name].reveal(statement, attempt.unmasking.confirmations())
        if name in lying:
            wrong = revised(shares, shares=tuple(revised(s, value="00" * 16) for s in shares.shares))
            with rejected(name, f"a share from {name} that is not the one that clinic-01 gave it"):
                attempt.unmasking.take_shares(name, wrong)
        else:
            attempt.unmasking.take_shares(name, shares)
    assert np.array_equal(attempt.unmasking.total(), attempt.plain)


def test_one_wrong_share_among_right_ones_is_rejected():
    attempt = Attempt(zeros(4))
    statement = attempt.until_statement(late=[FOUR])
    attempt.confirm()
    shares = attempt.clinics[ONE].reveal(statement, attempt.unmasking.confirmations())
    for place in range(4):
        changed = [*shares.shares]
        changed[place] = revised(changed[place], value="ab" * 16)
        with rejected(ONE, f"not the one that {attempt.names[place]} gave it"):
            attempt.unmasking.take_shares(ONE, revised(shares, shares=tuple(changed)))


def test_shares_of_other_seeds_clinics_or_attempts_than_asked_for_are_rejected():
    """A clinic that helps the hub's thief: shares of both seeds would uncover a vector."""
    attempt = Attempt(zeros(4))
    statement = attempt.until_statement(late=[FOUR])
    attempt.confirm()
    shares = attempt.clinics[ONE].reveal(statement, attempt.unmasking.confirmations())
    first, *others = shares.shares
    for wrong in (
        revised(shares, roster="00" * 32),
        revised(shares, shares=(revised(first, seed="pair"), *others)),
        revised(shares, shares=(*others, first)),
        revised(shares, shares=tuple(others)),
        revised(shares, shares=(first, first, *others)),
        revised(shares, shares=()),
    ):
        with rejected(ONE, "of another attempt, or of other seeds than expected"):
            attempt.unmasking.take_shares(ONE, wrong)
    with rejected(FOUR, "shares from clinic-04, expected one of clinic-01"):
        attempt.unmasking.take_shares(FOUR, shares)


@pytest.mark.parametrize("late", [[], [TWO]])
def test_clinic_that_gave_out_shares_of_another_seed_is_named(late):
    """Its letters fit its commitments, but not the seed that it has signed: nobody can see that before the end."""
    attempt = Attempt(zeros(5))
    two = attempt.clinics[TWO]
    attempt.close_roster()
    seeds = two._self_seed, two._pair_seed
    two._self_seed, two._pair_seed = bytes(16), bytes(16)
    two.letters(attempt.roster)
    two._self_seed, two._pair_seed = seeds
    attempt.close_roster = lambda: attempt.roster
    attempt.until_statement(late=late)
    attempt.confirm()
    attempt.reveal()
    masked = attempt.hub.masked_sum.copy()
    with rejected(TWO, "the shares that clinic-02 gave out rebuild another seed than it has signed"):
        attempt.unmasking.total()
    assert np.array_equal(attempt.hub.masked_sum, masked)


def test_confirmation_that_is_not_a_survivors_own_is_rejected():
    attempt = Attempt(zeros(4))
    statement = attempt.until_statement(late=[FOUR])
    signature = attempt.clinics[ONE].confirm(statement)
    for name, wrong in (
        (TWO, signature),
        (FOUR, signer(FOUR)(statement.text())),
        (ONE, signer(ONE)(revised(statement, survivors=(ONE, TWO)).text())),
        (ONE, ""),
        (ONE, "no signature"),
    ):
        with rejected(name, f"a confirmation from {name} that is not valid"):
            attempt.unmasking.take_confirmation(name, wrong)
    attempt.unmasking.take_confirmation(ONE, signature)


def test_parts_that_do_not_fit_together_are_rejected():
    attempt, other = Attempt(zeros(4)), Attempt(zeros(4))
    attempt.until_statement()
    other.until_statement()
    closed, foreign, vector = attempt.hub.close_sum(), other.hub.close_sum(), np.zeros(40, "<u4")
    of_three = dict(list(closed.commitments.items())[:3])
    without_one = {n: {h: c for h, c in by.items() if h != ONE} for n, by in closed.commitments.items()}
    strangers = (*closed.statement.sharers, "clinic-09")
    with_stranger = {**closed.commitments, "clinic-09": closed.commitments[ONE]}
    few = revised(closed.statement, survivors=closed.statement.survivors[:2])
    for wrong, error, words in (
        (revised(closed, roster=foreign.roster), ProtocolError, "do not fit"),
        (revised(closed, statement=foreign.statement), ProtocolError, "do not fit"),
        (revised(closed, commitments=of_three), ProtocolError, "do not fit"),
        (
            revised(closed, statement=revised(closed.statement, sharers=strangers), commitments=with_stranger),
            ProtocolError,
            "do not fit",
        ),
        (revised(closed, commitments=without_one), ProtocolError, "do not fit"),
        (revised(closed, statement=few), TooFewClinicsError, "2 survivors, expected at least 3 of 4"),
    ):
        with pytest.raises(error, match=words):
            Unmasking(wrong, vector, attempt.keys)
    for wrong in (np.zeros(39, "<u4"), np.zeros(40, "<f4")):
        with pytest.raises(ProtocolError, match=r"expected uint32 \(40,\)"):
            Unmasking(closed, wrong, attempt.keys)
    with rejected(ONE, "clinic-01 has not signed"):  # its key was replaced meanwhile
        Unmasking(closed, vector, {**attempt.keys, **{ONE: public_keys(["another"])["another"]}})
    Unmasking(closed, vector, attempt.keys)


def test_closed_sum_has_no_unknown_fields():
    attempt = Attempt(zeros(3))
    attempt.until_statement()
    fields = json.loads(attempt.hub.close_sum().model_dump_json())
    with pytest.raises(ValueError, match="more"):
        ClosedSum.model_validate_json(json.dumps({**fields, "more": 1}))


def test_clinics_that_help_the_hub_have_the_sum_of_the_others_and_of_no_fewer():
    """Two of six give it all their secrets. It has the uploads, and once the sum is open each clinic's own seed."""
    attempt = Attempt(*updates_of(6, 2_000))
    attempt.exchange_letters()
    uploads = {}
    for name, clinic in attempt.clinics.items():
        uploads[name] = clinic.mask(attempt.vector(name), attempt.letters[name]).copy()
        attempt.hub.take_masked(name, uploads[name].copy())
    attempt.close_sum()
    attempt.confirm()
    attempt.reveal()
    helpers, others = attempt.names[:2], attempt.names[2:]
    assert len(helpers) < attempt.roster.threshold  # of the shares that would open a seed
    wrong = {}
    for name in others:
        own = Mask(self_mask_key(attempt.clinics[name]._self_seed, attempt.roster.digest(), name), -1)
        left = uploads[name]
        apply_masks(left, [own, *(attempt.clinics[helper]._pair_mask(attempt.roster, name) for helper in helpers)])
        wrong[name] = left - attempt.vector(name)
    assert not sum(wrong.values()).any()
    for count in (1, 2, 3):
        for some in combinations(others, count):
            rest = sum(wrong[name] for name in some)
            assert np.histogram(rest, 8, (0, 2**32))[0] == pytest.approx(250, abs=100)  # as good as random
