"""How metrics are written as text: the same in the model card, in warnings and on a terminal."""

from typing import Any

from embryofl.metrics import SMALLEST_COUNT

_DAYS = (*map(str, range(15)), "unknown")
_LABELS = ("1", "0", "unlabelled")


def number(value: float | None, digits: int = 3) -> str:
    """`0.812`, or `-` if there is no value."""
    return "-" if value is None else f"{value:.{digits}f}"


def metric(value: dict[str, Any] | None, digits: int = 3) -> str:
    """`0.812 (0.74 to 0.88)`: a value with its 95 % interval, or `-`."""
    if not value:
        return "-"
    interval = value.get("interval")
    text = number(value["value"], digits)
    return f"{text} ({interval[0]:.2f} to {interval[1]:.2f})" if interval else text


def signed(value: dict[str, Any] | None) -> str:
    """The same with two decimals, for metrics that may be negative."""
    return metric(value, 2)


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


def count(value: object) -> str:
    """A count by the small-count rule: its number, "<5", or "-" if it is not a count."""
    if type(value) is int and value >= 0:
        return str(value) if value == 0 or value >= SMALLEST_COUNT else f"<{SMALLEST_COUNT}"
    return f"<{SMALLEST_COUNT}" if value == f"<{SMALLEST_COUNT}" else "-"


def counts_by_day(summary: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Counts by day and label from a clinic's summary, as text; anything else in it is ignored."""
    counts = summary.get("counts")
    days = {day: counts[day] for day in _DAYS if isinstance(counts.get(day), dict)} if isinstance(counts, dict) else {}
    return {day: {label: count(by_label.get(label)) for label in _LABELS} for day, by_label in days.items()}
