"""The model card's charts as SVG points: only numbers go into them."""

from collections.abc import Iterable, Sequence
from typing import Any

SIDE = 220
"""Width and height of a plot in pixels of the page."""


def path(points: Iterable[Sequence[float]], low: float = 0.0, high: float = 1.0) -> str:
    """A polyline's ``points`` for x in [0, 1] and y in [low, high], cut off below and above."""
    scaled = []
    for x, y in points:
        up = (min(max(y, low), high) - low) / (high - low)
        scaled.append(f"{x * SIDE:.1f},{(1 - up) * SIDE:.1f}")
    return " ".join(scaled)


def charts(results: dict[str, Any]) -> dict[str, Any]:
    """Points of the card's charts, by chart; None where there is nothing to draw."""
    test = results["splits"]["test"]["pooled"]["all"]
    return {
        "roc": path((x, y) for x, y, _ in test["roc"]) if test["roc"] else None,
        "reliability": _reliability(test),
        "decision": _decision(test["decision"]),
        "rounds": _rounds(results["rounds"]),
    }


def _reliability(test: dict[str, Any]) -> dict[str, Any] | None:
    rows = {name: test[name]["reliability"] for name in ("before", "after") if test[name]}
    if not any(rows.values()):
        return None
    bars = [
        {"x": row["score"] * SIDE, "low": (1 - row["interval"][0]) * SIDE, "high": (1 - row["interval"][1]) * SIDE}
        for row in rows.get("after", rows["before"])
    ]
    share = {name: path((r["score"], r["good"] / r["embryos"]) for r in found) for name, found in rows.items()}
    return {**share, "bars": bars}


def _decision(rows: list[dict[str, float]]) -> dict[str, Any] | None:
    if not rows:
        return None
    high = max(0.05, *(max(row["model"], row["all"]) for row in rows))
    low = -high / 3
    return {
        "model": path(((r["p"], r["model"]) for r in rows), low, high),
        "all": path(((r["p"], r["all"]) for r in rows), low, high),
        "zero": high / (high - low) * SIDE,
        "high": high,
    }


def _rounds(rounds: list[dict[str, Any]]) -> dict[str, Any] | None:
    last = max((r["round"] for r in rounds), default=0)
    points = [(r["round"] / last, r["pooled"]["auroc"]) for r in rounds if last and r["pooled"]["auroc"] is not None]
    return {"auroc": path(points, 0.4, 1.0), "last": last} if len(points) > 1 else None
