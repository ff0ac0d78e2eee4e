"""How many clinics a sum needs, and how much of it one clinic may be and counts."""

from collections.abc import Mapping, Sequence

MIN_CLINICS, MAX_CLINICS = 3, 50
"""Clinics in an attempt. In a sum of two, each clinic would know the other's vector."""
MAX_SHARE = 0.8
"""Of the weights of a sum: in a sum that is mostly one clinic's vector, that vector is hardly hidden."""


def threshold(clinics: int) -> int:
    """Survivors, confirmations and shares that an attempt of so many clinics needs.

    More than two thirds. Let ``c`` of ``n`` clinics, at most a third, help the hub. To unmask one clinic's vector, the hub
    needs ``t`` shares of both of its seeds. An honest clinic reveals a share of only one, so the hub would need
    ``2 (t - c) <= n - c``. With ``t = floor(2 n / 3) + 1`` this never holds, not even where ``c`` is exactly a third of
    ``n``. (With ``ceil(2 n / 3)`` it does, for example for 6 clinics of which 2 help the hub.)

    Parameters
    ----------
    clinics : int
        `MIN_CLINICS` to `MAX_CLINICS`.

    Returns
    -------
    int
        3 of 3, 3 of 4, 4 of 5, 5 of 6, 7 of 10, 34 of 50.
    """
    return 2 * clinics // 3 + 1


def largest_part(weights: Sequence[int], own: int | None = None) -> float:
    """The part of a sum that a clinic's vector is, of the weights without the heaviest third of the other clinics: these
    may help the hub and take their own parts out.

    Parameters
    ----------
    weights : sequence of int
        Of all clinics of the sum.
    own : int, optional
        One of these, the clinic's; the largest one by default.
    """
    own = max(weights) if own is None else own
    others = sorted(weights)
    others.remove(own)
    return own / (own + sum(others[: len(others) - len(weights) // 3]))


def capped(weights: Mapping[str, float], cap: float) -> dict[str, float]:
    """Weights of which none is more than the part `cap` of all. With fewer than three there is no such part: they stay.

    Parameters
    ----------
    weights : mapping of str to float
        By clinic.
    cap : float
        From 0.5, so that only the heaviest can have more, to 1, which changes nothing.
    """
    kept = dict(weights)
    if len(kept) < 3 or cap >= 1:
        return kept
    heaviest = max(kept, key=lambda name: kept[name])
    others = sum(weight for name, weight in kept.items() if name != heaviest)
    kept[heaviest] = min(kept[heaviest], others * cap / (1 - cap))
    return kept
