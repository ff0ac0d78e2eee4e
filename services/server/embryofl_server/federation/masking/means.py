"""From the sums of a masked round to the updates that the strategy aggregates, each sum checked by the gate on its own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from embryofl.masked_update import count_alarms, count_clipped, longest_mean, mean_scale, write_mean
from embryofl.messages import Reply
from embryofl.secagg.fixed_point import Ring
from embryofl.secagg.unmasking import ClosedSum
from embryofl.settings import RunSettings
from embryofl_server.federation import gate
from embryofl_server.federation.checkpoint import Checkpoint
from embryofl_server.federation.strategies.base import ClinicUpdate, Round, StrategySettings
from embryofl_server.federation.strategies.median import CoordinateMedian


@dataclass
class RoundSums:
    """The sums of a round that have passed the gate so far.

    Attributes
    ----------
    sums : list of tuple of (ClosedSum, ndarray of uint32 (length,))
    left_out : dict of str to str
        Why clinics are in none of them.
    """

    sums: list[tuple[ClosedSum, Ring]]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def survivors(self) -> tuple[str, ...]:
        """The clinics in the sums."""
        return tuple(sorted(name for closed, _ in self.sums for name in closed.statement.survivors))

    @property
    def alarms(self) -> int:
        """Of all clinics."""
        return sum(count_alarms(total) for _, total in self.sums)

    def check_alarms(self) -> None:
        """Leave sums out that have more alarms than clinics."""
        for closed, total in [*self.sums]:
            count, alarms = len(closed.statement.survivors), count_alarms(total)
            if alarms > count:
                self._leave_out(closed, f"The alarms of {count} clinics add up to {alarms}: a clinic breaks the rules.")

    def _leave_out(self, closed: ClosedSum, why: str) -> None:
        self.sums = [one for one in self.sums if one[0] is not closed]
        self.left_out |= dict.fromkeys(closed.statement.survivors, why)

    def why(self) -> str:
        """Why sums were left out, in one text."""
        return " ".join(dict.fromkeys(self.left_out.values()))

    def updates(
        self, settings: RunSettings, model: Checkpoint, replies: Mapping[str, Reply], folder: Path
    ) -> list[ClinicUpdate]:
        """The mean of each sum as an update, whose file is written to `folder`. Sums are left out whose mean is longer than
        one of clipped updates can be."""
        made, layout, number = [], model.layout(), model.round + 1
        for place, (closed, total) in enumerate([*self.sums]):
            roster, names = closed.roster, closed.statement.survivors
            bound, part = roster.terms.bound, roster.share(names, settings.share_cap)
            path = folder / f"round-{number:04d}-{place}.mean"
            with path.open("wb") as file:
                norm = write_mean(total, part, bound, model.packed(), layout, file)
            most = longest_mean(settings, roster, len(names), part, layout.floats)
            if not norm <= most:
                path.unlink()
                self._leave_out(
                    closed, f"The mean of the updates has the norm {norm:.6g}, expected at most {most:.6g}."
                )
                continue
            examples = [replies[name].examples for name in names]
            group = names[0] if roster.drawn else ""
            kept = roster.weights(settings.share_cap)
            counted = [n * kept[name] / roster.advert_of(name).weight for name, n in zip(names, examples, strict=True)]
            made.append(ClinicUpdate(group, path, sum(counted), norm, mean_scale(settings, examples, counted)))
        return made

    def record(self, attempt: int) -> dict[str, Any]:
        """What the round's record says of the masks."""
        rosters = [closed.roster for closed, _ in self.sums]
        record: dict[str, Any] = {
            "attempt": attempt,
            "roster": _sorted(roster.names for roster in rosters),
            "sharers": _sorted(closed.statement.sharers for closed, _ in self.sums),
            "survivors": self.survivors,
            "threshold": min(roster.threshold for roster in rosters),
            "bound": rosters[0].terms.bound,
            # A clinic may count itself more than once.
            "clipped": sum(min(count_clipped(total), len(c.statement.survivors)) for c, total in self.sums),
            "alarms": self.alarms,
        }
        if rosters[0].drawn:
            record["groups"] = [closed.statement.survivors for closed, _ in self.sums]
            record["left_out"] = self.left_out
        return record


def _sorted(names: Iterable[tuple[str, ...]]) -> list[str]:
    return sorted(name for group in names for name in group)


def median_of(updates: list[ClinicUpdate], model: Checkpoint, folder: Path) -> ClinicUpdate:
    """The coordinate-wise median of the means of groups as one update, with the files of the others removed."""
    layout, packed = model.layout(), model.packed()
    made = CoordinateMedian(StrategySettings()).aggregate(Round(model.round + 1, layout, packed, updates), {}).model
    path = folder / f"round-{model.round + 1:04d}.mean"
    np.asarray(made).tofile(path)
    for update in updates:
        update.path.unlink()
    norm = gate.distance(path, layout, packed)
    return replace(updates[0], clinic="", path=path, examples=sum(u.examples for u in updates), norm=norm, scale=1.0)
