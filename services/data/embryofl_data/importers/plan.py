"""What every importer makes of a source: a plan of rows, each with the label that a rule gave and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embryofl_data.importers.rules import Facts
from embryofl_data.reading.decode import DecodeError

CHECK_SIZE = 64  # side in pixels to which a picture is decoded, only to see whether it can be


@dataclass(frozen=True)
class PlannedImage:
    """One image to be taken over.

    Attributes
    ----------
    source : str
        POSIX path relative to the source folder.
    facts : Facts
        What the source says of the embryo: the rule makes a label of it.
    patient, embryo : str
        Names in the data contract, "" where the source names none.
    day : str
        Day of development, "" where unknown.
    frame, focal_plane : str
        Of a time-lapse or a stack, "" elsewhere.
    target : str
        Name below `images`, "" for that of the source.
    """

    source: str
    facts: Facts = field(default_factory=Facts)
    patient: str = ""
    embryo: str = ""
    day: str = ""
    frame: str = ""
    focal_plane: str = ""
    target: str = ""


@dataclass(frozen=True)
class SkippedFile:
    """Something in the source that is not taken over, why (in words that many share), and what was found there."""

    source: str
    reason: str
    detail: str = ""

    @classmethod
    def of(cls, source: str, error: DecodeError) -> "SkippedFile":
        """A file that cannot be decoded."""
        return cls(source, error.kind.replace("_", " "), str(error))


@dataclass(frozen=True)
class Plan:
    """What an importer found.

    Attributes
    ----------
    rows : tuple of PlannedImage
        In the order of their sources, every source once.
    left_out : tuple of SkippedFile
        What is not taken over.
    notes : tuple of str
        What a person should know: which tables were read, what was chosen.
    """

    rows: tuple[PlannedImage, ...]
    left_out: tuple[SkippedFile, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Options:
    """What the user chose on the command line; an importer reads those that it knows.

    Attributes
    ----------
    table : Path, optional
        Table to read, where an importer takes any.
    columns : mapping of str to str
        Contract column to the table's column.
    labels : mapping of str to int or None
        Text in the label column to 1, 0, or None for unlabelled.
    phases : tuple of str
        Time-lapse phases to take, all where empty.
    pick : str
        Which frames of an embryo: `last`, `first`, `middle` or `all`.
    before : str
        Only frames before this phase, or before this many hours (`110h`).
    planes : tuple of str
        Focal planes to take.
    """

    table: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, int | None] = field(default_factory=dict)
    phases: tuple[str, ...] = ()
    pick: str = "last"
    before: str = ""
    planes: tuple[str, ...] = ("0",)
