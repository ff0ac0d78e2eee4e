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


class TaskLossStore:
    """The files of one clinic's task losses in one run.

    Parameters
    ----------
    folder : Path
        Of the run; created when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._files = RoundFiles(folder, "tasks", "json")

    def newest(self, up_to: int, first: TaskLosses) -> TaskLosses:
        """The losses of the newest round that is not later than `up_to`; `first` if there is none."""
        path = self._files.newest(up_to)
        if path is None:
            return first
        kept = json.loads(path.read_text())
        return replace(first, older=kept["older"], newer=kept["newer"])

    def save(self, round_: int, losses: TaskLosses) -> None:
        """Keep the losses after a round (`RoundFiles.save`)."""
        self._files.save(round_, json.dumps({"older": dict(losses.older), "newer": dict(losses.newer)}).encode())
