"""What an importer is, and its result: a plan of images, each with the facts from which a rule makes a label."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embryofl_data.importers.rules import Facts
from embryofl_data.importers.source import SkippedFile, Source
from embryofl_data.reading.sandbox import DecodeError
from embryofl_data.reading.tables import TableRow, read_table

CHECK_SIZE = 64  # side in pixels to which an image is decoded, only to see whether it can be


@dataclass(frozen=True)
class PlannedImage:
    """One image to be imported; names are "" where the source gives none.

    Attributes
    ----------
    source : str
        POSIX path relative to the source folder.
    facts : Facts
        What the source says about the embryo.
    day : str
        Day of development.
    frame, focal_plane : str
        Of a time-lapse or a stack.
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


@dataclass
class Plan:
    """What an importer makes of a source.

    Attributes
    ----------
    images : list of PlannedImage
        In the order of their sources, every source once.
    skipped : list of SkippedFile
        What is not imported; at first, what the source itself cannot give.
    notes : list of str
        What a person should know: which tables were read, what was chosen.
    """

    images: list[PlannedImage] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def skip(self, file: str, reason: str, detail: str = "") -> None:
        """Note that a file is not imported."""
        self.skipped.append(SkippedFile(file, reason, detail))

    def skip_damaged(self, file: str, error: DecodeError) -> None:
        """Note that a file cannot be decoded."""
        self.skip(file, error.kind.replace("_", " "), str(error))


@dataclass(frozen=True)
class Options:
    """The choices on the command line; an importer reads those that it knows.

    Attributes
    ----------
    table : Path, optional
        Table to read, where an importer takes any.
    columns : mapping of str to str
        Contract column to the table's column.
    labels : mapping of str to int or None
        Text in the label column to 1, 0, or None for unlabelled.
    phases : tuple of str
        Time-lapse phases to import; all if empty.
    pick : str
        Which frames of an embryo: `last`, `first`, `middle` or `all`.
    before : str
        Only frames before this phase, or before this many hours (`110h`).
    planes : tuple of str
        Focal planes to import.
    """

    table: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, int | None] = field(default_factory=dict)
    phases: tuple[str, ...] = ()
    pick: str = "last"
    before: str = ""
    planes: tuple[str, ...] = ("0",)

    def rows(self, *required: str, optional: tuple[str, ...] = ()) -> tuple[TableRow, ...]:
        """Rows of `table`; none without one."""
        return read_table(self.table, required, optional).rows if self.table else ()


@dataclass(frozen=True)
class Importer:
    """Reads one published layout.

    Attributes
    ----------
    name, title : str
        As on the command line, and for a person.
    rules : tuple of str
        Rules that its facts can feed; `stated`, where it is one of them, is used when none is named.
    detect : callable
        Source to the evidence of this layout, "" if it is another one.
    fill : callable
        Takes a plan, to which it adds images, skipped files and notes, the source, and the options. Raises `UserError`.
    convert : callable, optional
        Content of a file to that of the image to be written; without it files are copied as they are. Raises
        `DecodeError`.
    """

    name: str
    title: str
    rules: tuple[str, ...]
    detect: Callable[[Source], str]
    fill: Callable[[Plan, Source, Options], None]
    convert: Callable[[bytes], bytes] | None = None


def bare(file: str) -> str:
    """The file's name without its folder."""
    return file.rsplit("/", 1)[-1]
