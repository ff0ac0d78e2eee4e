"""The statistics of the federation's images as text for a terminal."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_BLOCKS = " ▁▂▃▄▅▆▇█"


def statistics_table(found: dict[str, Any]) -> RenderableType:
    """Per measure: all images (mean, standard deviation, histogram), and each clinic's mean; what is far is marked.

    Parameters
    ----------
    found : dict
        As `data_standing.standing_of_data` returns it, with at least one clinic.
    """
    whole, clinics = found["all"], found["clinics"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("measure", f"all {whole['images']} images", "histogram", *clinics):
        table.add_column(column, no_wrap=column == "histogram")
    notes = []
    for measure, spread in whole["measures"].items():
        cells = [measure, f"{spread['mean']:.3g} ± {spread['variance'] ** 0.5:.2g}", bars(spread["bins"])]
        for name, clinic in clinics.items():
            place = clinic["places"].get(measure)
            far = bool(place and place["far"])
            mean = clinic["statistics"]["measures"][measure]["mean"]
            cells.append(f"{mean:.3g} ({place['distance']:+.1f})" if far else f"{mean:.3g}")
            if far:
                notes.append(Text(f"{name}: {measure} {place['words']}"))
        table.add_row(*cells)
    counts = ", ".join(f"{name} {clinic['statistics']['images']}" for name, clinic in clinics.items())
    notes.append(
        Text(f"Images: {counts}. In brackets: standard deviations from the other clinics' mean, beyond 1.", "dim")
    )
    return Group(table, *notes)


def bars(counts: list[int]) -> str:
    """A histogram in one line of text."""
    most = max(*counts, 1)
    return "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // most)] for count in counts)
