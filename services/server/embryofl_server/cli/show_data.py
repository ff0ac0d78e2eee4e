"""The statistics of the federation's images as text for a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from embryofl_server.cli.text import table

_BLOCKS = " ▁▂▃▄▅▆▇█"


def statistics_table(statistics: dict[str, Any]) -> RenderableType:
    """Per measure: all images (mean, standard deviation, histogram), and each clinic's mean; clinics that differ are noted.

    Parameters
    ----------
    statistics : dict
        As `members.image_statistics` returns it.
    """
    if not statistics["all"]:
        return "No clinic has reported image statistics yet."
    pooled, clinics = statistics["all"], statistics["clinics"]
    shown = table("measure", f"all {pooled['images']} images", "histogram", *clinics)
    shown.columns[2].no_wrap = True
    notes = []
    for measure, spread in pooled["measures"].items():
        cells = [measure, f"{spread['mean']:.3g} ± {spread['variance'] ** 0.5:.2g}", bars(spread["bins"])]
        for name, clinic in clinics.items():
            cell = f"{clinic['statistics']['measures'][measure]['mean']:.3g}"
            place = clinic["places"].get(measure)
            if place and place["far"]:
                cell += f" ({place['distance']:+.1f})"
                notes.append(Text(f"{name}: {measure} {place['words']}"))
            cells.append(cell)
        shown.add_row(*cells)
    counts = ", ".join(f"{name} {clinic['statistics']['images']}" for name, clinic in clinics.items())
    notes.append(
        Text(f"Images: {counts}. In brackets: standard deviations from the other clinics' mean, if more than 1.", "dim")
    )
    return Group(shown, *notes)


def bars(counts: list[int]) -> str:
    """A histogram in one line of text."""
    most = max(*counts, 1)
    return "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // most)] for count in counts)
