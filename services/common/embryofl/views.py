"""Several images of one embryo are views: they count as one embryo in counts and averages."""

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class Views:
    """Which images show which embryo.

    Parameters
    ----------
    embryos : numpy.ndarray
        int64 (n,), for each image the number of its embryo, from 0 to m - 1 without gaps.

    Attributes
    ----------
    first : numpy.ndarray
        int64 (m,), for each embryo the index of its first image.
    """

    def __init__(self, embryos: Integers) -> None:
        self._embryos = np.asarray(embryos)
        self._counts = np.bincount(self._embryos)
        self._order = np.argsort(self._embryos, kind="stable")
        self._starts = np.cumsum(self._counts) - self._counts
        self.first: Integers = self._order[self._starts]

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def several(self) -> bool:
        """Whether any embryo has more than one image."""
        return len(self._order) > len(self._counts)

    def chosen(self, random: npt.NDArray[np.float64]) -> Integers:
        """One image of each embryo, int64 (m,), by uniform random numbers in [0, 1), float64 (m,)."""
        within = np.minimum((random * self._counts).astype(np.int64), self._counts - 1)
        return np.asarray(self._order[self._starts + within])

    def mean(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Mean over the images of each embryo: float64 (n,) to (m,)."""
        return np.bincount(self._embryos, weights=values, minlength=len(self)) / self._counts
