"""The losses of a clinic's tasks from round to round, from which FedEmbryo's task weights follow. They stay at the clinic.

One file a round next to the personal models (`personal`), so that a repeated round starts from the same losses. A clinic
that joins late starts as all others did; a missed round has no file.

state/personal/<run>/tasks-0007.json   after the clinic's training in round 7
"""

import json
from dataclasses import replace
from pathlib import Path

from embryofl.weighting import TaskLosses
from embryofl_clinic.workload.round_files import RoundFiles


def newest_losses(folder: Path, up_to: int, first: TaskLosses) -> TaskLosses:
    """The losses in a run's folder of the newest round that is not later than `up_to`; `first` if there is none."""
    path = RoundFiles(folder, "tasks", "json").newest(up_to)
    return first if path is None else replace(first, **json.loads(path.read_text()))


def save_losses(folder: Path, round_: int, losses: TaskLosses) -> None:
    """Keep the losses after a round (`RoundFiles.save`)."""
    text = json.dumps({"older": dict(losses.older), "newer": dict(losses.newer)})
    RoundFiles(folder, "tasks", "json").save(round_, text.encode())
