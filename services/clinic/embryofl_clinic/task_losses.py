"""The losses of a clinic's tasks from round to round, which FedEmbryo's weights between them follow from.

They never leave. One file a round beside the clinic's own models (`personal`), so that a round that is done again begins
from what that round began from. A round that was missed is simply not there; a clinic that joins late begins as all did.

state/personal/<run>/tasks-0007.json   after the clinic's training in round 7
"""

import json
from dataclasses import replace
from pathlib import Path

from embryofl.files import write_atomic
from embryofl.weighting import TaskLosses

KEEP_ROUNDS = 3


class TaskLossStore:
    """The files of one clinic's task losses in one run.

    Parameters
    ----------
    folder : Path
        Of the run; made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _rounds(self) -> dict[int, Path]:
        return {int(p.stem.removeprefix("tasks-")): p for p in sorted(self._folder.glob("tasks-*.json"))}

    def newest(self, up_to: int, begin: TaskLosses) -> TaskLosses:
        """The losses of the newest round that is not later than `up_to`; `begin` where there is none."""
        rounds = self._rounds()
        known = [number for number in rounds if number <= up_to]
        if not known:
            return begin
        kept = json.loads(rounds[max(known)].read_text())
        return replace(begin, older=kept["older"], newer=kept["newer"])

    def save(self, round_: int, losses: TaskLosses) -> None:
        """Keep the losses after a round; later ones, of a course that is done again, go, and so do old ones."""
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"older": dict(losses.older), "newer": dict(losses.newer)})
        write_atomic(self._folder / f"tasks-{round_:04d}.json", text.encode())
        rounds = self._rounds()
        until_now = [number for number in rounds if number <= round_]
        for number in {*rounds} - {*until_now[-KEEP_ROUNDS:]}:
            rounds[number].unlink()
