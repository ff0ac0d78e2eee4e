"""A hub that says different things to different clinics, with up to a third of the clinics helping it, gets no second sum."""

import numpy as np
import pytest

from embryofl.errors import ProtocolError, TooFewClinicsError
from embryofl.secagg.messages import Statement
from embryofl.secagg.shares import rebuild
from embryofl.secagg.threshold import threshold
from kits.secagg import Attempt, names_of, revised, signer, updates_of, zeros


@pytest.mark.parametrize("count", [3, 4, 5, 6, 9])
def test_two_statements_about_one_clinic_are_not_both_confirmed(count):
    """Half of the honest clinics are shown that the target has survived, half that it has not; those that help sign both.

    Six clinics with two that help are the edge: with a threshold of four, both statements would be confirmed.
    """
    attempt = Attempt(zeros(count))
    alive = attempt.until_statement()
    target, *others = attempt.names
    helping, honest = others[: count // 3], others[count // 3 :]
    dead = revised(alive, survivors=tuple(others))
    half = (len(honest) + 1) // 2
    confirmed = []
    for statement, asked in ((alive, [target, *honest[: half - 1]]), (dead, honest[half - 1 :])):
        signatures = {n: signer(n)(statement.text()) for n in helping if n in statement.survivors}
        for name in asked:
            if len(statement.survivors) >= threshold(count):
                signatures[name] = attempt.clinics[name].confirm(statement)
        for name in asked:
            try:
                attempt.clinics[name].reveal(statement, signatures)
                confirmed.append(statement)
                break
            except (ProtocolError, TooFewClinicsError):
                pass
    assert len(confirmed) < 2


def test_clinics_with_other_views_of_the_letters_do_not_confirm_the_same_statement():
    """The hub keeps a letter from one clinic, so that its vector lacks a mask."""
    attempt = Attempt(zeros(5))
    attempt.exchange_letters()
    *four, last = attempt.names
    one = attempt.letters[four[0]]
    attempt.letters[four[0]] = revised(one, letters={n: v for n, v in one.letters.items() if n != last})
    attempt.mask()
    statement = attempt.close_sum()
    with pytest.raises(ProtocolError, match="with letters from .*; expected this attempt's, and clinic-01, clinic-02"):
        attempt.clinics[four[0]].confirm(statement)
    narrow = Statement(roster=statement.roster, sharers=tuple(four), survivors=tuple(four))
    attempt.clinics[four[0]].confirm(narrow)
    with pytest.raises(ProtocolError, match="with letters from"):
        attempt.clinics[four[1]].confirm(narrow)


def test_helping_clinics_alone_rebuild_no_seed():
    """A third of the clinics, with all shares that they hold."""
    attempt = Attempt(zeros(9))
    attempt.exchange_letters()
    target, helping = attempt.names[0], attempt.names[6:]
    held = {i: attempt.clinics[n] for i, n in enumerate(attempt.names, 1) if n in helping}
    for name in helping:
        held_by = attempt.clinics[name]
        held_by.mask(attempt.vector(name), attempt.letters[name])
    shares = {i: c._held[target].self_seed for i, c in held.items()}
    assert rebuild(shares) != attempt.clinics[target]._self_seed


@pytest.mark.parametrize("min_survivors", [3, threshold(9)])
def test_two_attempts_at_a_round_have_one_sum_where_clinics_ask_for_enough(min_survivors):
    """Nine clinics, three of which help the hub. It has the first sum confirmed by just enough clinics and then makes a second
    attempt with the others, so that the difference is the sum over fewer. Only `min_survivors` prevents that."""
    limits = {"min_survivors": min_survivors}
    updates, weights = updates_of(9, 60)
    first = Attempt(updates, weights, limits=limits)
    first.run(gone=names_of(6)[4:])  # clinic-05 and clinic-06 are never asked
    again = {name: updates[name] for name in names_of(9)[4:]}
    second = Attempt(again, weights, {n: first.ledgers[n] for n in again}, limits, attempt=2)
    for name in names_of(9)[6:]:  # those that help have no ledger, and no limits
        second.clinics[name]._ledger = Attempt(zeros(3)).ledgers["clinic-01"]
        second.clinics[name]._min_survivors = 3
    if min_survivors == 3:
        assert np.array_equal(second.run(), second.plain)
    else:
        with pytest.raises(TooFewClinicsError, match="5 clinics in a roster, expected at least 7 of 5"):
            second.run()
