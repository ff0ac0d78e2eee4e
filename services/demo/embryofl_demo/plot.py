"""A plot of estimates with their intervals, as SVG: dots and bars, a row a model, a panel a clinic.

Written here rather than by matplotlib, which would be 30 MB and a dozen packages for one plot of lines and circles.
"""

from collections.abc import Mapping
from html import escape

import numpy as np

from embryofl_demo.intervals import Estimate

ROW, TOP, LEFT, PANEL, GAP = 18, 46, 170, 190, 24  # pixels
LOW, HIGH = 0.3, 1.0


def svg(estimates: Mapping[str, Mapping[str, Estimate]], title: str) -> str:
    """Rows in their order; differences (" - " in the name) are skipped. A line marks 0.5, an AUROC by chance."""
    rows = {m: r for m, r in estimates.items() if " - " not in m}
    panels = list(next(iter(rows.values())))
    width, height = LEFT + len(panels) * (PANEL + GAP), TOP + len(rows) * ROW + 28
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
        f'<g font-family="sans-serif" font-size="11"><rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="8" y="16" font-size="13">{escape(title)}</text>',
    ]
    for number, model in enumerate(rows):
        parts.append(f'<text x="8" y="{TOP + number * ROW + 12}">{escape(model)}</text>')
    for k, panel in enumerate(panels):
        left = LEFT + k * (PANEL + GAP)
        parts.append(f'<text x="{left}" y="{TOP - 10}">{escape(panel)}</text>')
        for tick in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
            x, colour = _x(left, tick), "#888" if tick == 0.5 else "#ddd"
            parts.append(f'<path d="M{x} {TOP - 4}V{height - 24}" stroke="{colour}"/>')
            parts.append(f'<text x="{x}" y="{height - 10}" text-anchor="middle">{tick:g}</text>')
        for number, row in enumerate(rows.values()):
            parts += _mark(left, TOP + number * ROW + 8, row.get(panel), "#c33" if number == 0 else "#246")
    return "\n".join([*parts, "</g></svg>"]) + "\n"


def _x(left: float, value: float) -> float:
    return round(left + PANEL * (min(max(value, LOW), HIGH) - LOW) / (HIGH - LOW), 1)


def _mark(left: int, y: int, f: Estimate | None, colour: str) -> list[str]:
    if f is None or not np.isfinite([f.value, f.low, f.high]).all():
        return []
    line = f'<path d="M{_x(left, f.low)} {y}H{_x(left, f.high)}" stroke="{colour}" stroke-width="2"/>'
    return [line, f'<circle cx="{_x(left, f.value)}" cy="{y}" r="3.5" fill="{colour}"/>']
