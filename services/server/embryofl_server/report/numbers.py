"""How metrics are written as text: the same in the model card, in warnings and on a terminal."""

from typing import Any


def number(value: float | None, digits: int = 3) -> str:
    """`0.812`, or `-` if there is no value."""
    return "-" if value is None else f"{value:.{digits}f}"


def figure(value: dict[str, Any] | None, digits: int = 3) -> str:
    """`0.812 (0.74 to 0.88)`: a value with its 95 % interval, or `-`."""
    if not value:
        return "-"
    interval = value.get("interval")
    text = number(value["value"], digits)
    return f"{text} ({interval[0]:.2f} to {interval[1]:.2f})" if interval else text


def signed(value: dict[str, Any] | None) -> str:
    """The same with two decimals, for metrics that may be negative."""
    return figure(value, 2)


def spread(value: dict[str, Any] | None) -> str:
    """`0.812 ± 0.013 (0.801 to 0.826)` over several runs, or `-`."""
    if not value:
        return "-"
    return f"{value['mean']:.3f} ± {value['sd']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def day_label(day: str) -> str:
    """`?` for the day "0", which stands for unknown."""
    return "?" if day == "0" else day


def clinic_label(name: str) -> str:
    """`all clinics` for the pooled results."""
    return "all clinics" if name == "pooled" else name
