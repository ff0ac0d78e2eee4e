"""The losses of a clinic's tasks from round to round, which FedEmbryo's weights between them follow from.

They never leave. One file a round beside the clinic's own models (`personal`), so that a round that is done again begins
from what that round began from. A round that was missed is simply not there; a clinic that joins late begins as all did.

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
        Of the run; made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._files = RoundFiles(folder, "tasks", "json")

    def newest(self, up_to: int, begin: TaskLosses) -> TaskLosses:
        """The losses of the newest round that is not later than `up_to`; `begin` where there is none."""
        path = self._files.newest(up_to)
        if path is None:
            return begin
        kept = json.loads(path.read_text())
        return replace(begin, older=kept["older"], newer=kept["newer"])

    def save(self, round_: int, losses: TaskLosses) -> None:
        """Keep the losses after a round (`RoundFiles.save`)."""
        self._files.save(round_, json.dumps({"older": dict(losses.older), "newer": dict(losses.newer)}).encode())
