"""What the hub keeps for each clinic in the strategies that steer clinics' steps (SCAFFOLD, FedDyn): one vector a clinic.

The papers leave these vectors with the clients. Here the hub keeps them: each follows from the clinic's updates alone,
which the hub has, so that nothing more goes up; they are part of the checkpoint, so that a resumed run goes on with the
same bits; and a clinic that missed rounds, lost its disk, or whose update was refused or shortened is steered by what
did count. A clinic that has not taken part yet has the vector 0 and the weight 0.

The price: a float32 for each number of the model and each clinic in every checkpoint on the hub's disk, and one more model
down for each clinic and round. In memory there are blocks of it: the vectors are memory-mapped files.
"""

import tempfile
from collections.abc import Callable, Mapping

import numpy as np

from embryofl.wire import Layout
from embryofl_server.federation.strategies.base import Round, State
from embryofl_server.federation.strategies.blocks import BLOCK_BYTES, Block, combine, mean

VECTOR, EXAMPLES = "variate/", "examples/"


def starts(layout: Layout) -> list[int]:
    """How many floating-point numbers come before each section of a layout, and in all: (sections + 1,)."""
    sizes = [(s.end - s.begin) // s.dtype.itemsize if s.dtype.kind == "f" else 0 for s in layout.sections]
    return [int(n) for n in np.cumsum([0, *sizes])]


class Variates:
    """The vectors of all clinics that have taken part, from the state of the round before.

    Parameters
    ----------
    state : State
    layout : Layout
    """

    def __init__(self, state: State, layout: Layout) -> None:
        self._starts = starts(layout)
        self.vectors = {n.removeprefix(VECTOR): a for n, a in sorted(state.items()) if n.startswith(VECTOR)}
        self.examples = {n: float(state[EXAMPLES + n]) for n in self.vectors}

    def at(self, clinic: str, here: slice) -> np.ndarray:
        """A part of a clinic's vector, float64 (k,); 0 for one that is new."""
        if clinic not in self.vectors:
            return np.zeros(here.stop - here.start)
        return np.asarray(self.vectors[clinic][here], np.float64)

    def mean_at(self, here: slice) -> np.ndarray:
        """The mean of the vectors' parts, weighted by the clinics' training examples, float64 (k,)."""
        total, whole = np.zeros(here.stop - here.start), sum(self.examples.values())
        for clinic, examples in self.examples.items():
            total += self.at(clinic, here) * (examples / whole)
        return total

    def here(self, block: Block) -> slice:
        """Where a block lies in the vectors."""
        at = self._starts[block.section] + block.begin
        return slice(at, at + block.model.size)

    def packed(self, layout: Layout, part: Callable[[slice], np.ndarray]) -> np.ndarray:
        """A vector as the clinics get it: packed like the model, integers 0. `part` gives float64 (k,) of a slice."""
        out = layout.empty()
        for number, view in enumerate(layout.section_views(out)):
            if view.dtype.kind != "f":
                view[:] = 0
                continue
            size, most = BLOCK_BYTES // 8, np.finfo(view.dtype).max  # half precision holds less than what is kept
            for begin in range(0, view.size, size):
                end, base = min(begin + size, view.size), self._starts[number]
                view[begin:end] = np.clip(part(slice(base + begin, base + end)), -most, most)
        return out


def aggregate(
    round_: Round,
    variates: Variates,
    change: Callable[[Block, slice, int], np.ndarray],
    join: Callable[[Block, np.ndarray, "Variates", slice], np.ndarray],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The new packed model and the new state, block by block.

    Parameters
    ----------
    round_ : Round
    variates : Variates
        Of the round before.
    change : callable
        From a block, its place and the number of an update to that clinic's new part, float64 (k,).
    join : callable
        From a block, the clinics' mean model, float64 (k,), the new vectors and the place to the new model's part.
    """
    size = variates._starts[-1]
    vectors: dict[str, np.ndarray] = dict(variates.vectors)
    for u in round_.updates:
        vectors[u.clinic] = _scratch(size, vectors.get(u.clinic))
    examples = {**variates.examples, **{u.clinic: float(u.examples) for u in round_.updates}}
    after = Variates({}, round_.layout)
    after.vectors, after.examples = dict(sorted(vectors.items())), dict(sorted(examples.items()))
    weights = [float(u.examples) for u in round_.updates]

    def new(block: Block) -> np.ndarray:
        if block.model.size == 0 or round_.layout.sections[block.section].dtype.kind != "f":
            return mean(block.updates, weights)
        here = variates.here(block)
        for row, u in enumerate(round_.updates):
            vectors[u.clinic][here] = change(block, here, row)
        return join(block, mean(block.updates, weights), after, here)

    model = combine(round_, new)
    return model, _state(vectors, examples)


def _scratch(size: int, like: np.ndarray | None) -> np.ndarray:
    """A float32 vector in a temporary file without a name, which is gone when nobody holds it."""
    with tempfile.TemporaryFile() as file:
        vector = np.memmap(file, np.float32, "w+", shape=(max(size, 1),))[:size]
    if like is not None:
        vector[:] = like
    return vector


def _state(vectors: Mapping[str, np.ndarray], examples: Mapping[str, float]) -> dict[str, np.ndarray]:
    state: dict[str, np.ndarray] = {VECTOR + n: v for n, v in vectors.items()}
    return state | {EXAMPLES + n: np.array(e, np.float64) for n, e in examples.items()}
