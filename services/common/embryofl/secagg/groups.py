"""Groups of a run's clinics, each of which has a sum of its own: a robust mean of the groups' means outvotes a bad one.

The clinics are drawn once, from those that have sent keys in the first round, and keep their groups in the whole run. With
other groups in each round the sums would soon tell every clinic's part, as far as it stays alike from round to round: of
nine clinics in three groups, five rounds (the median of 300 draws) have nine independent sums. The same groups have no
more sums than groups.
So et al., "Securing Secure Aggregation: Mitigating Multi-Round Privacy Leakage in Federated Learning", AAAI 2023,
https://arxiv.org/abs/2106.03328. Hub and clinics make the same draw from the run's seed, the names and the weights.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping

from embryofl.errors import ProtocolError, TooFewClinicsError
from embryofl.secagg.messages import Roster, text_of
from embryofl.secagg.threshold import MAX_SHARE, MIN_CLINICS, largest_part

FEWEST = 3  # groups of a run: of two none is outvoted
LARGEST = 4  # clinics of a group, which has at least `MIN_CLINICS`
FEWEST_DRAWN = FEWEST * MIN_CLINICS
"""Clinics that are drawn into groups; fewer have one sum."""
DRAWS = 200  # in search of groups without a clinic that is most of its group

Groups = tuple[tuple[str, ...], ...]


def draw(seed: int, weights: Mapping[str, int]) -> Groups:
    """Groups of three or four clinics, as many of four as possible, each in the order of names.

    The first draw counts in which no clinic has a part of its group's sum that its policy declines by default; if there is
    none, that with the smallest largest part.

    Parameters
    ----------
    seed : int
        `RunSettings.seed`.
    weights : mapping of str to int
        In the sum, by clinic; at least `FEWEST_DRAWN`.

    Raises
    ------
    TooFewClinicsError
    """
    if len(weights) < FEWEST_DRAWN:
        raise TooFewClinicsError(f"{len(weights)} clinics to be drawn into groups, expected at least {FEWEST_DRAWN}")
    best: Groups = ()
    smallest = 2.0
    for number in range(DRAWS):
        groups = _dealt(text_of("groups", [seed, dict(weights), number]), weights)
        part = max(largest_part([weights[name] for name in group]) for group in groups)
        if part < smallest:
            best, smallest = groups, part
        if part <= MAX_SHARE:
            break
    return best


def _dealt(text: bytes, names: Iterable[str]) -> Groups:
    order = sorted(names, key=lambda name: hashlib.sha256(text + name.encode()).digest())
    count = -(-len(order) // LARGEST)
    return tuple(sorted(tuple(sorted(order[first::count])) for first in range(count)))


def least_clinics(groups: int) -> int:
    """So many clinics in groups that are complete enough for a sum are at least so many groups."""
    return LARGEST * (groups - 1) + 1


def in_sums(names: Collection[str], groups: Mapping[tuple[str, ...], int]) -> int:
    """How many of these clinics are in groups of which at least as many are there as needed, by group."""
    there = {group: sum(name in names for name in group) for group in groups}
    return sum(count for group, count in there.items() if count >= groups[group])


def check_group(roster: Roster, name: str, seed: int | None, known: Collection[str], least: int) -> None:
    """Check that a roster is of a clinic's own group.

    Parameters
    ----------
    roster : Roster
    name : str
        The clinic.
    seed : int or None
        Of a run with groups; None where all clinics have one sum.
    known : collection of str
        The clinics whose keys are pinned.
    least : int
        So many of the known ones must have been drawn.

    Raises
    ------
    ProtocolError
    TooFewClinicsError
    """
    if (seed is None) == bool(roster.drawn):
        raise ProtocolError(
            f"a roster {'with' if roster.drawn else 'without'} groups, expected what the run's settings say about them"
        )
    if seed is None:
        return
    if (found := len({*roster.drawn} & {*known})) < least:
        raise TooFewClinicsError(f"{found} known clinics drawn into groups, expected at least {least}")
    group = next((group for group in draw(seed, roster.drawn) if name in group), ())
    if not {*roster.names} <= {*group}:
        raise ProtocolError(
            f"a roster of {', '.join(roster.names)}, expected clinics of the group of {name} as the run's seed draws it: "
            f"{', '.join(group) or 'none, as it was not among those that were drawn'}"
        )
