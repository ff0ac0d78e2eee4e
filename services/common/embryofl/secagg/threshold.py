"""How many clinics a sum needs."""

MIN_CLINICS, MAX_CLINICS = 3, 50
"""Clinics in an attempt. In a sum of two, each clinic would know the other's vector."""


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
