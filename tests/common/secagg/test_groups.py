"""The draw of a run's clinics into groups: as hub and clinics make it, for the whole run, and no other."""

import hashlib

import numpy as np
import pytest

from embryofl.errors import ProtocolError, TooFewClinicsError
from embryofl.secagg.groups import draw, in_sums, least_clinics
from embryofl.secagg.messages import Roster
from embryofl.secagg.threshold import MAX_SHARE, largest_part
from kits.secagg import Attempt, names_of, new_ledger, public_keys, revised, travel

ONE, TWO = names_of(2)
SEED = 5


def groups_of(count, seed=SEED):
    return draw(seed, dict.fromkeys(names_of(count), 100))


@pytest.mark.parametrize("count", range(9, 51))
def test_every_clinic_is_in_one_group_of_three_or_four_and_few_groups_are_of_three(count):
    for seed in (0, 1, 2**31 - 1):
        groups = groups_of(count, seed)
        assert sorted(name for group in groups for name in group) == names_of(count)
        assert {len(group) for group in groups} <= {3, 4} and len(groups) == -(-count // 4) >= 3


def test_the_draw_follows_from_seed_names_and_weights_in_whatever_order_they_come():
    weights = {name: 50 + 7 * number for number, name in enumerate(names_of(11))}
    assert draw(1, weights) == draw(1, dict(reversed(weights.items()))) != draw(2, weights)
    assert draw(1, weights) != draw(1, weights | {ONE: 51})


def test_the_draw_is_that_of_this_version():
    """Hub and clinics of two versions have to make the same."""
    text = repr(groups_of(13)).encode()
    assert hashlib.sha256(text).hexdigest()[:16] == "f00d5551c294d561"


def test_no_clinic_is_most_of_its_group_where_that_can_be_helped():
    """Of these, 27 of 28 draws put a heavy clinic with a light one, which it would decline."""
    weights = dict(zip(names_of(9), [900, 60, 800, 50, 700, 40, 30, 30, 20], strict=True))
    for seed in range(30):
        groups = draw(seed, weights)
        assert max(largest_part([weights[name] for name in group]) for group in groups) <= MAX_SHARE
    lone = weights | dict.fromkeys(names_of(9)[1:], 10)
    assert len(draw(1, lone)) == 3  # it cannot be helped


def test_fewer_than_nine_are_not_drawn():
    with pytest.raises(TooFewClinicsError, match="8 clinics to be drawn into groups, expected at least 9"):
        groups_of(8)


def test_sums_of_fixed_groups_never_tell_more_than_groups_and_other_groups_in_each_round_soon_tell_every_clinic():
    """If clinics' updates stay alike, a hub solves for each of them once it has as many independent sums as clinics."""

    def independent(draws):
        rows = [[name in group for name in names_of(9)] for groups in draws for group in groups]
        return np.linalg.matrix_rank(np.asarray(rows, float))

    assert independent([groups_of(9)] * 15) == 3
    assert [independent([groups_of(9, seed) for seed in range(n)]) for n in (1, 2, 7)] == [3, 5, 9]


def test_clinics_count_where_their_group_has_enough_of_them():
    groups = {("a", "b", "c"): 3, ("d", "e", "f", "g"): 3}
    assert [in_sums(names, groups) for names in ("abc", "abdefg", "abcdefg", "ab", "")] == [3, 4, 7, 0, 0]
    assert [least_clinics(n) for n in (3, 5)] == [9, 17]


# -- at a clinic --------------------------------------------------------------------------------------------------------
class GroupedAttempt(Attempt):
    """Only the clinics of the first clinic's group, in a run of nine. `drawn`: what the hub says was drawn."""

    def __init__(self, seed=SEED, drawn=None, group=None, **more):
        self.drawn = drawn or dict.fromkeys(names_of(9), 100)
        group = group or next(g for g in draw(SEED, self.drawn) if ONE in g)
        more["limits"] = {"seed": seed} | more.get("limits", {})
        update = np.full(40, 1e-3 * more.get("round", 0), np.float32)  # another one in each round
        super().__init__(dict.fromkeys(group, update), **more)
        self.keys = public_keys(names_of(13))
        self.clinics = {name: self.session(name, **more["limits"]) for name in self.names}

    def close_roster(self) -> Roster:
        for clinic in self.clinics.values():
            self.hub.take_advert(travel(clinic.advert))
        self.hub = self.hub.of_group(self.names, self.drawn)
        self.roster: Roster = travel(self.hub.close_roster())
        return self.roster


def test_group_of_three_is_summed():
    attempt = GroupedAttempt()
    assert np.array_equal(attempt.run(), attempt.plain)


def test_group_of_four_is_summed_without_the_one_that_drops_out():
    drawn = dict.fromkeys(names_of(12), 100)
    attempt = GroupedAttempt(drawn=drawn)
    late = attempt.names[-1]
    assert np.array_equal(attempt.run(late=[late]), attempt.plain)
    assert attempt.statement.survivors == tuple(attempt.names[:3])


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"group": names_of(3)}, "expected clinics of the group of clinic-01 as the run's seed draws it"),
        ({"drawn": {}}, "a roster without groups"),
        ({"seed": None}, "a roster with groups"),
        ({"seed": SEED + 1}, "expected clinics of the group of clinic-01"),
        ({"drawn": dict.fromkeys(names_of(8), 100), "group": names_of(3)}, "8 clinics to be drawn"),
        ({"drawn": dict.fromkeys(names_of(11)[2:], 100), "group": names_of(3)}, "none, as it was not among those"),
        ({"limits": {"min_survivors": 10}}, "9 known clinics drawn into groups, expected at least 10"),
    ],
    ids=str,
)
def test_roster_that_is_not_of_the_clinics_own_group_is_rejected(lie, words):
    lie = dict(lie)
    drawn = lie.pop("drawn", None)
    attempt = GroupedAttempt(**lie, drawn=drawn or None)
    if drawn == {}:
        attempt.drawn = {}
    with pytest.raises(ProtocolError, match=words):
        attempt.clinics[ONE].letters(attempt.close_roster())


def test_group_is_fixed_for_the_run_whatever_is_drawn_in_a_later_round():
    first = GroupedAttempt()
    first.run()
    ledgers = {name: first.ledgers.get(name, new_ledger()) for name in names_of(10)}
    later = {"round": 8, "model": "01" * 32, "ledgers": ledgers}
    GroupedAttempt(**later).run()
    again = GroupedAttempt(drawn=dict.fromkeys(names_of(10), 100), **(later | {"round": 9, "model": "02" * 32}))
    with pytest.raises(ProtocolError, match="other groups than in round 7 of run-0001"):
        again.run()


def test_two_rosters_of_one_group_with_other_draws_do_not_cancel():
    """A hub that tells two clinics of a group other draws gets masks of two rosters."""
    attempt = GroupedAttempt()
    roster = attempt.close_roster()
    other = revised(roster, drawn=roster.drawn | {ONE: 101})
    assert other.digest() != roster.digest() and other.draw != roster.draw
    assert revised(roster, drawn={}).draw == ""
