"""Reading sums that a stranger sent: the exact form, or a ValueError."""

from __future__ import annotations

import numpy as np

from embryofl.metrics.bins import FloatArray

MAX_COUNT = 10_000_000


def mapping(value: object, keys: set[str], where: str) -> dict[str, object]:
    """An object with exactly these keys."""
    if not isinstance(value, dict) or set(value) != keys:
        raise ValueError(f"{where}: expected an object with exactly {', '.join(sorted(keys))}")
    return value


def array(value: object, length: int, where: str) -> list[object]:
    """A list of this length."""
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{where}: expected a list of {length}")
    return value


def integer(value: object, where: str, most: int) -> int:
    """A whole number from 0 to `most`."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{where}: expected a whole number from 0 to {most}")
    return value


def number(value: object, where: str, least: float, most: float) -> float:
    """A number from `least` to `most` (NaN compares false)."""
    if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
        raise ValueError(f"{where}: expected a number from {least:g} to {most:g}, by what the counts allow")
    return float(value)  # type: ignore[arg-type]


def sums(value: object, most: FloatArray, where: str) -> FloatArray:
    """As many numbers as `most` has, each from 0 to that."""
    limits = (most * (1 + 1e-9)).tolist()
    return np.array([number(x, where, 0, limit) for x, limit in zip(array(value, 2, where), limits, strict=True)])
