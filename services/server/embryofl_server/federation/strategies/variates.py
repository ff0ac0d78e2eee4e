"""What the hub keeps for each clinic in the strategies with drift correction (SCAFFOLD, FedDyn): one vector per clinic.

The papers leave these vectors with the clients. Here the hub keeps them: each follows from the clinic's updates alone,
which the hub has, so nothing more is uploaded; they are part of the checkpoint, so a resumed run continues with the same
bits; and a clinic that missed rounds, lost its disk, or whose update was rejected or clipped is corrected by what was
used. A clinic that has not taken part yet has the vector 0 and the weight 0.

The price: a float32 for each number of the model and each clinic in every checkpoint on the hub's disk, and one more model
downloaded by each clinic in each round. Memory holds blocks of it: the vectors are memory-mapped files.
"""

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping

import numpy as np

from embryofl.wire import Layout
from embryofl_server.federation.strategies.base import Aggregation, Round, Settings, State, Strategy
from embryofl_server.federation.strategies.blocks import BLOCK_BYTES, Block, combine, mean, shares

VECTOR, EXAMPLES = "variate/", "examples/"


class Variates:
    """The vectors and training embryos of all clinics that have taken part, by name."""

    def __init__(self, vectors: Mapping[str, np.ndarray], examples: Mapping[str, float]) -> None:
        self.vectors, self.examples = dict(sorted(vectors.items())), dict(sorted(examples.items()))

    @classmethod
    def of(cls, state: State) -> "Variates":
        """Those in a strategy's state."""
        vectors = {name.removeprefix(VECTOR): array for name, array in state.items() if name.startswith(VECTOR)}
        return cls(vectors, {name: float(state[EXAMPLES + name]) for name in vectors})

    def state(self) -> State:
        """Them as a strategy's state."""
        vectors = {VECTOR + name: vector for name, vector in self.vectors.items()}
        return vectors | {EXAMPLES + name: np.array(n, np.float64) for name, n in self.examples.items()}

    def at(self, clinic: str, place: slice) -> np.ndarray:
        """A part of a clinic's vector, float64 (k,); 0 for a new clinic."""
        if clinic not in self.vectors:
            return np.zeros(place.stop - place.start)
        return np.asarray(self.vectors[clinic][place], np.float64)

    def mean_at(self, place: slice) -> np.ndarray:
        """The mean of the vectors' parts, weighted by the clinics' training embryos, float64 (k,)."""
        total, examples = np.zeros(place.stop - place.start), sum(self.examples.values())
        for clinic, count in self.examples.items():
            total += self.at(clinic, place) * (count / examples)
        return total


class CorrectingStrategy(Strategy[Settings]):
    """The mean by examples, and a vector for each clinic from which its drift correction follows."""

    @abstractmethod
    def correction(self, variates: Variates, clinic: str) -> Callable[[slice], np.ndarray] | None:
        """From a place in the vectors to that part of a clinic's drift correction, float64 (k,); None if it is 0."""

    @abstractmethod
    def change(self, round_: Round, before: Variates, block: Block, place: slice, number: int) -> np.ndarray:
        """The new part of the vector of the clinic of an update, float64 (k,)."""

    @abstractmethod
    def join(self, round_: Round, after: Variates, block: Block, place: slice, average: np.ndarray) -> np.ndarray:
        """The new model's part, float64 (k,), from the clinics' mean model, float64 (k,), and their new vectors."""

    def control(self, layout: Layout, state: State, clinic: str) -> np.ndarray | None:
        """See `Strategy`."""
        part = self.correction(Variates.of(state), clinic)
        if part is None:
            return None
        out, floats = layout.empty(), 0
        for view in layout.section_views(out):
            if view.dtype.kind != "f":
                view[:] = 0
                continue
            size, most = BLOCK_BYTES // 8, np.finfo(view.dtype).max  # half precision has a smaller range than a vector
            for begin in range(0, view.size, size):
                end = min(begin + size, view.size)
                view[begin:end] = np.clip(part(slice(floats + begin, floats + end)), -most, most)
            floats += view.size
        return out

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The new model and the new vectors, block by block."""
        before, weights, size = Variates.of(state), round_.examples, round_.layout.floats
        new = {u.clinic: _scratch(size, before.vectors.get(u.clinic)) for u in round_.updates}
        examples = {u.clinic: float(u.examples) for u in round_.updates}
        after = Variates({**before.vectors, **new}, {**before.examples, **examples})

        def step(block: Block) -> np.ndarray:
            place = block.floats
            if place is None:
                return mean(block.updates, weights)
            for number, u in enumerate(round_.updates):
                new[u.clinic][place] = self.change(round_, before, block, place, number)
            return self.join(round_, after, block, place, mean(block.updates, weights))

        return Aggregation(combine(round_, step), after.state(), shares(round_.updates, weights))


def _scratch(size: int, like: np.ndarray | None) -> np.ndarray:
    """A float32 vector in a temporary file without a name, which is deleted when no longer used."""
    with tempfile.TemporaryFile() as file:
        vector = np.memmap(file, np.float32, "w+", shape=(max(size, 1),))[:size]
    if like is not None:
        vector[:] = like
    return vector
