"""Labelled examples in the form that training and evaluation need."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from embryofl.gardner import STEPS
from embryofl.views import Views


class Examples(Protocol):
    """Labelled images, or their embeddings by a frozen backbone; `embryofl_data` loads them."""

    @property
    def pixels(self) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
        """All decoded images, uint8 (m, s, s, 3), or all embeddings, float32 (m, d)."""

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Rows of `pixels` that belong to this set, (n,)."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """0 or 1, (n,)."""

    @property
    def days(self) -> npt.NDArray[np.int64]:
        """Day of development, 0 = unknown, (n,)."""

    @property
    def embryos(self) -> npt.NDArray[np.int64]:
        """Number of the embryo that each image shows, from 0 without gaps, (n,); see `embryofl.views`."""

    @property
    def cohorts(self) -> npt.NDArray[np.int64] | None:
        """Number of the patient of each image, (n,), -1 = unknown; None if no patient is known."""

    @property
    def grades(self) -> npt.NDArray[np.float32] | None:
        """Steps of the Gardner grades, (n, STEPS), NaN = unknown; see `embryofl.gardner`."""


def graded_steps(examples: Examples, views: Views) -> npt.NDArray[np.float32]:
    """The grades' steps of each embryo, float32 (m, STEPS), NaN = unknown."""
    if examples.grades is None:
        return np.full((len(views), STEPS), np.nan, np.float32)
    return np.asarray(examples.grades[views.first], np.float32)
