"""The groups of a round at the hub: which clinics have a sum with each other, and which groups can have none."""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from pydantic import Field

from embryofl.errors import TooFewClinicsError
from embryofl.files import write_atomic
from embryofl.schema import Name, Strict
from embryofl.secagg.groups import FEWEST_DRAWN, Groups, draw
from embryofl.secagg.threshold import MAX_CLINICS
from embryofl_server.runs.log import Run

S = TypeVar("S")
T = TypeVar("T")


class Drawn(Strict):
    """The clinics of a run that were drawn into groups, and their weights then (`embryofl.secagg.groups`)."""

    weights: dict[Name, int] = Field(min_length=FEWEST_DRAWN, max_length=MAX_CLINICS)


class RunGroups:
    """The groups of a run, on disk from their first use (`groups.json`): clinics confirm sums over no others.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run) -> None:
        self._path, self._seed = run.folder / "groups.json", run.settings.seed
        self.weights: dict[str, int] = {}
        if self._path.exists():
            self.weights = Drawn.model_validate_json(self._path.read_bytes()).weights

    @property
    def groups(self) -> Groups:
        """Empty before the draw."""
        return draw(self._seed, self.weights) if self.weights else ()

    def draw(self, weights: Mapping[str, int]) -> None:
        """Draw these clinics into groups, unless that was done before."""
        if not self.weights:
            drawn = Drawn(weights=dict(weights))
            write_atomic(self._path, drawn.model_dump_json().encode())
            self.weights = drawn.weights


class Sides(Generic[S]):
    """The hub's side of each group's sum; one alone where all clinics have one sum.

    Parameters
    ----------
    sides : mapping of tuple of str
        By the names of the group.

    Attributes
    ----------
    left_out : dict of str to str
        The clinics of groups that have no sum in this round, and why.
    """

    def __init__(self, sides: Mapping[tuple[str, ...], S]) -> None:
        self._sides, self.left_out = dict(sides), dict[str, str]()

    def of(self, name: str) -> S:
        """That of a clinic's group."""
        return next(side for group, side in self._sides.items() if name in group)

    def __iter__(self) -> Iterator[S]:
        return iter([*self._sides.values()])

    def each(self, step: Callable[[S], T]) -> list[T]:
        """The outcomes of a step in each group; one with too few clinics for it is left out."""
        done = []
        for side in self:
            try:
                done.append(step(side))
            except TooFewClinicsError as exc:
                self.leave_out(side, exc.text)
        return done

    def leave_out(self, side: S, why: str) -> None:
        """This group has no sum in this round."""
        group = next(names for names, other in self._sides.items() if other is side)
        del self._sides[group]
        self.left_out |= dict.fromkeys(group, why)
