"""What all checks work on: the folder, information about each file, and the measurements as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from embryofl.data_statistics import DataStatistics
from embryofl_data.reading.contract import DataFolder, EmbryoImage
from embryofl_data.reading.scan import FileInfo
from embryofl_data.report.facts import FolderFacts
from embryofl_data.report.neighbours import Pair

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measures:
    """Measurements of the usable images, in their order.

    Attributes
    ----------
    columns : dict of str to numpy.ndarray
        Name, as in `measure.MEASURES`, to float64 (n,).
    tags : dict of str to tuple of str
        File to the names of metadata fields that may identify somebody; only files that have any.
    pairs : tuple of Pair
        Near-duplicates, the most similar first.
    """

    columns: dict[str, FloatArray]
    tags: dict[str, tuple[str, ...]]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Study:
    """A folder under study.

    Attributes
    ----------
    folder : DataFolder
        Its usable images, and all problems.
    infos : dict of str to FileInfo
        Of every file that was opened.
    splits : dict of str to list of int
        Training, validation and test images, empty where it cannot train.
    own_split : dict of str to str
        File to its part in a split that the folder comes with, empty where it has none.
    own_split_from : str
        Where that split comes from: `the column split of labels.csv`, or `folder names`.
    measures : Measures, optional
        None where the images themselves were not measured.
    others : DataStatistics, optional
        Image statistics of the federation's other clinics; None where the hub has sent none.
    """

    folder: DataFolder
    infos: dict[str, FileInfo]
    facts: FolderFacts
    splits: dict[str, list[int]] = field(default_factory=dict)
    own_split: dict[str, str] = field(default_factory=dict)
    own_split_from: str = ""
    measures: Measures | None = None
    others: DataStatistics | None = None

    @property
    def images(self) -> Sequence[EmbryoImage]:
        """Usable images."""
        return self.folder.images

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Their files."""
        return tuple(image.file for image in self.images)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 (n,), -1 where unlabelled."""
        return np.array([-1 if image.label is None else image.label for image in self.images], np.int64)

    @cached_property
    def days(self) -> npt.NDArray[np.int64]:
        """int64 (n,), -1 where unknown."""
        return np.array([-1 if image.day is None else image.day for image in self.images], np.int64)

    @cached_property
    def split_of(self) -> dict[int, str]:
        """Index of an image to its training, validation or test split."""
        return {index: split for split, members in self.splits.items() for index in members}
