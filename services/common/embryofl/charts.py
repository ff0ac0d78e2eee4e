"""Line charts as SVG, for all kinds of colour vision: each line has its own colour and pattern, each chart a text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from embryofl.texts import escape

_WIDTH, _SMALL, _HEIGHT = 460, 380, 300  # of a chart, and of one with a legend
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 10, 44
_LABELS, _APART, _LETTERS = 96, 15, 14  # room for labels at the ends of lines, their distance, letters of a name
# Okabe and Ito, "Color Universal Design" (2008); their yellow cannot be seen on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "currentColor", "#E69F00", "#56B4E9")
_PATTERNS = ("", "7 4", "2 3", "9 3 2 3", "12 4", "1 5", "5 2")
_GREY = "#8a8a8a"

Point = tuple[float, float]
Place = Callable[[Point], Point]  # from values to pixels


@dataclass(frozen=True)
class Series:
    """A line of a chart. `bars` and `band`: (x, low, high), as single lines or as an area. `reference`: a thin grey line
    for comparison; `thin`: one of many, which a label at its end tells apart (`label`: whether it has one)."""

    name: str
    points: Sequence[Point]
    bars: Sequence[tuple[float, float, float]] = field(default_factory=list)
    band: Sequence[tuple[float, float, float]] = field(default_factory=list)
    reference: bool = False
    dots: bool = False
    thin: bool = False
    label: bool = True


@dataclass(frozen=True)
class Axis:
    """An axis: its name, range and marks."""

    name: str
    low: float = 0.0
    high: float = 1.0
    marks: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0)
    digits: int = 2


def rounds_axis(name: str, last: float) -> Axis:
    """An axis of rounds, from 0 to the last, with about five marks."""
    last = max(1, int(last))
    step = next(s * 10**k for k in range(8) for s in (1, 2, 5) if last / (s * 10**k) <= 6)
    return Axis(name, 0, last, [float(n) for n in range(0, last + 1, step)], 0)


def fitted(name: str, values: Sequence[float], *, low: float | None = None, high: float | None = None) -> Axis:
    """An axis that these values fit on, with round marks."""
    least = min(values, default=0.0) if low is None else low
    most = max(values, default=1.0) if high is None else high
    if most - least < 1e-6:
        least, most = least - 0.5, most + 0.5
    step = next(s * 10.0**k for k in range(-8, 12) for s in (1, 2, 5) if (most - least) / (s * 10.0**k) <= 6)
    first, last = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    marks = [n * step for n in range(first, last + 1)]
    return Axis(name, marks[0], marks[-1], marks, max(0, -math.floor(math.log10(step) + 1e-9)))


def chart(
    title: str, summary: str, x: Axis, y: Axis, series: Sequence[Series], note: str = "", *, direct: bool = False
) -> str:
    """A chart with its legend, or with `direct` labels at the ends of its lines in place of one.

    Parameters
    ----------
    title : str
    summary : str
        The chart in words, for screen readers.
    x, y : Axis
    series : sequence of Series
    note : str
        Stands behind the title.
    direct : bool
    """

    width = _WIDTH + _LABELS if direct else _SMALL
    right = (_WIDTH if direct else _SMALL) - _RIGHT

    def at(point: Point) -> Point:
        across = (min(max(point[0], x.low), x.high) - x.low) / (x.high - x.low)
        up = (min(max(point[1], y.low), y.high) - y.low) / (y.high - y.low)
        return _LEFT + across * (right - _LEFT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    shapes = [_grid(x, y, at, right)]
    styles = iter(zip(_COLOURS * 9, _PATTERNS * 9, strict=True))
    legend = []
    for line in series:
        colour, pattern = (_GREY, "3 3") if line.reference else ("currentColor", "") if line.thin else next(styles)
        shapes.append(_line(line, colour, pattern, at))
        legend.append(_entry(line, colour, pattern))
    shapes += _labels(series, at) if direct else []
    words = f"{escape(title)} <span>{escape(note)}</span>" if note else escape(title)
    return (
        f'<figure class="chart"><figcaption>{words}</figcaption>'
        f'<svg viewBox="0 0 {width} {_HEIGHT}" role="img" aria-label="{escape(title)}. {escape(summary)}">'
        f"<title>{escape(title)}</title><desc>{escape(summary)}</desc>{''.join(shapes)}</svg>"
        + ("</figure>" if direct else f'<ul class="legend">{"".join(legend)}</ul></figure>')
    )


def _labels(series: Sequence[Series], at: Place) -> list[str]:
    """The names of lines beside their ends, far enough apart to be read."""
    ends = sorted((at(line.points[-1])[1], n) for n, line in enumerate(series) if line.label and line.points)
    levels: list[float] = []
    for level, _ in ends:
        levels.append(max(level, levels[-1] + _APART if levels else _TOP))
    lowest: float = _HEIGHT - _BOTTOM
    for n in range(len(levels) - 1, -1, -1):
        levels[n] = lowest = min(levels[n], lowest)
        lowest -= _APART
    words = []
    for (_, n), level in zip(ends, levels, strict=True):
        name = series[n].name
        name = name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
        kind = "label" if series[n].thin else "label first"
        words.append(f'<text x="{_WIDTH - _RIGHT + 8}" y="{level + 4:.1f}" class="{kind}">{escape(name)}</text>')
    return words


def _grid(x: Axis, y: Axis, at: Place, right: float) -> str:
    bottom = _HEIGHT - _BOTTOM
    parts = []
    for mark in y.marks:
        height = at((x.low, mark))[1]
        parts.append(
            f'<line x1="{_LEFT}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}" class="grid"/>'
            f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{mark:.{y.digits}f}</text>'
        )
    for mark in x.marks:
        across = at((mark, y.low))[0]
        parts.append(
            f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{bottom}" y2="{bottom + 4}" class="axis"/>'
            f'<text x="{across:.1f}" y="{bottom + 17}" text-anchor="middle">{mark:.{x.digits}f}</text>'
        )
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<line x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}" class="axis"/>'
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle" class="name">{escape(x.name)}</text>'
        f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle" class="name">{escape(y.name)}</text>'
    )
    return "".join(parts)


def interval(value: float, low: float, high: float, axis: Axis, reference: float | None = None) -> str:
    """A value and its interval on an axis, as wide as its place; words with the numbers stand beside it. `reference`: a
    dashed line to compare with."""

    def place(number: float) -> str:
        return f"{100 * (min(max(number, axis.low), axis.high) - axis.low) / (axis.high - axis.low):.1f}%"

    grid = "".join(f'<line class="grid" x1="{place(m)}" x2="{place(m)}" y1="0" y2="100%"/>' for m in axis.marks)
    compared = (
        ""
        if reference is None
        else f'<line class="ref" x1="{place(reference)}" x2="{place(reference)}" y1="0" y2="100%"/>'
    )
    return (
        f'<svg class="range" aria-hidden="true">{grid}{compared}'
        f'<line class="whole" x1="{place(low)}" x2="{place(high)}" y1="50%" y2="50%"/>'
        f'<circle class="main" cx="{place(value)}" cy="50%" r="4.5"/></svg>'
    )


def scale(axis: Axis) -> str:
    """The marks of an axis, above or below a column of `interval`s."""
    ends = {axis.marks[0]: "start", axis.marks[-1]: "end"}
    words = [
        f'<text x="{100 * (m - axis.low) / (axis.high - axis.low):.1f}%" y="12" text-anchor="{ends.get(m, "middle")}">'
        f"{m:.{axis.digits}f}</text>"
        for m in axis.marks
    ]
    return f'<svg class="range scale" aria-hidden="true">{"".join(words)}</svg>'


def _line(line: Series, colour: str, pattern: str, at: Place) -> str:
    points = [at(p) for p in line.points]
    width, faint = 1.2 if line.reference or line.thin else 2.4, ' opacity=".5"' if line.thin else ""
    parts = []
    if line.band:
        edge = [at((x, low)) for x, low, _ in line.band] + [at((x, high)) for x, _, high in reversed(line.band)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in edge)
        parts.append(f'<polygon points="{path}" fill="{colour}" opacity=".18"/>')
    for across, low, high in line.bars:
        (px, a), (_, b) = at((across, low)), at((across, high))
        parts.append(f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{a:.1f}" y2="{b:.1f}" stroke="{colour}" opacity=".6"/>')
    if len(points) > 1:
        digits = 0 if line.thin else 1  # a page may have a hundred thin lines
        path = " ".join(f"{a:.{digits}f},{b:.{digits}f}" for a, b in points)
        dashes = f' stroke-dasharray="{pattern}"' if pattern else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}{faint}/>')
    if line.dots or len(points) == 1:
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.4" fill="{colour}"/>' for a, b in points]
    return "".join(parts)


def _entry(line: Series, colour: str, pattern: str) -> str:
    dashes = f' stroke-dasharray="{pattern}"' if pattern else ""
    shape = f'<line x1="0" x2="34" y1="4" y2="4" stroke="{colour}" stroke-width="2.4"{dashes}/>'
    if len(line.points) == 1:
        shape = f'<circle cx="17" cy="4" r="3.6" fill="{colour}"/>'
    return f'<li><svg viewBox="0 0 34 8" width="34" height="8" aria-hidden="true">{shape}</svg>{escape(line.name)}</li>'
