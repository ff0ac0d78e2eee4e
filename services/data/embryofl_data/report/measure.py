"""Measure files: each is read here; a worker of the sandbox decodes, measures and forgets it."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embryofl.data_statistics import GREY_BINS
from embryofl.data_statistics import MEASURES as OPTICS
from embryofl.schema import Strict
from embryofl_data.reading import sandbox
from embryofl_data.reading.decode import DECODE_VERSION, decode_here, large_lock, scaled
from embryofl_data.reading.optics import optics_of
from embryofl_data.reading.sandbox import DecodeError, Reply
from embryofl_data.reading.scan import FileInfo, read_file, stamp_of
from embryofl_data.reading.threads import in_threads
from embryofl_data.report import appearance
from embryofl_data.report.burnt_text import text_score
from embryofl_data.report.metadata import tags_of
from embryofl_data.report.prints import SIDE, make_print

MEASURES: Final = (*appearance.NAMES, "text")
MEASURE_VERSION: Final = f"3-{DECODE_VERSION}"
"""Raised when a rule of measuring changes."""
WORKING_SIDE = 1024
"""Larger images are scaled down once and measured at this size."""
LARGE_BYTES = 32 * 2**20
"""A larger file, or image, is read while no other as large is: memory stays bounded."""
MOST_TAGS = 100


class Measured(BaseModel):
    """Measurements of one file; `values` and `print_` are empty where it could not be decoded.

    Attributes
    ----------
    values : tuple of float
        One for each of `MEASURES`.
    tags : tuple of str
        Names of identifying metadata fields.
    print_ : bytes
        int8 (SIDE, SIDE) of `prints.make_print`.
    """

    model_config = ConfigDict(frozen=True)

    info: FileInfo
    values: tuple[float, ...] = ()
    tags: tuple[str, ...] = ()
    print_: bytes = Field(default=b"", exclude=True)


class _Facts(Strict):
    """What `measure_here` replies, in the limits of an honest reply: a hostile file may have taken over its decoder."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    mode: str = Field(max_length=20)
    note: str = Field(max_length=80)
    optics: tuple[float, ...] = Field(min_length=len(OPTICS) + GREY_BINS, max_length=len(OPTICS) + GREY_BINS)
    values: tuple[float, ...] = Field(min_length=len(MEASURES), max_length=len(MEASURES))
    tags: tuple[Annotated[str, Field(max_length=40)], ...] = Field(max_length=MOST_TAGS)


def measure_files(root: Path, files: Sequence[str]) -> Iterator[Measured]:
    """Measure files of a data folder, one result for each in the given order."""
    return in_threads(partial(measure_file, root, file) for file in files)


def measure_file(root: Path, file: str) -> Measured:
    """Read, decode and measure a file of a data folder, alone if it is large.

    A file that cannot be read or decoded has a result, too, with the reason in `info.kind`.
    """
    try:
        alone = (root / file).stat().st_size > LARGE_BYTES
        with large_lock if alone else nullcontext():
            data, info = read_file(root, file)
            return received(info, *sandbox.call(measure_here, data, nullcontext() if alone else large_lock))
    except DecodeError as error:
        # The file is known by size and time, so that it need not be read again.
        size_bytes, mtime_ns = stamp_of(root / file) or (-1, -1)
        info = FileInfo(file=file, kind=error.kind, detail=error.detail, size_bytes=size_bytes, mtime_ns=mtime_ns)
        return Measured(info=info)
    except OSError as error:
        return Measured(info=FileInfo.not_opened(file, error))


def measure_here(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """Decode and measure in this process, a worker of the sandbox: `_Facts` and the print.

    Raises
    ------
    DecodeError
        As `embryofl_data.reading.decode.open_image` does.
    """
    opened = decode_here(data, large)
    image = working_size(opened.image)
    grey = image.convert("L")
    values = (*appearance.measure_image(image), text_score(grey))
    facts = {"optics": optics_of(opened.image), "values": values, "tags": tags_of(data)[:MOST_TAGS]}
    return {**opened.facts, **facts}, make_print(grey).tobytes()


def received(info: FileInfo, facts: sandbox.Facts, print_: bytes) -> Measured:
    """The reply of `measure_here` about a file, checked.

    Raises
    ------
    DecodeError
        When it is not one.
    """
    try:
        checked = _Facts.model_validate(facts)
    except ValidationError as error:
        raise DecodeError("unreadable", "measuring it gave no measurements") from error
    if len(print_) != SIDE * SIDE:
        raise DecodeError("unreadable", "measuring it gave no print")
    known = {name: getattr(checked, name) for name in ("width", "height", "mode", "note", "optics")}
    return Measured(info=info.model_copy(update=known), values=checked.values, tags=checked.tags, print_=print_)


def working_size(image: Image.Image) -> Image.Image:
    """The image, or a smaller one of at most `WORKING_SIDE` pixels, at which it is measured."""
    return image if max(image.size) <= WORKING_SIDE else scaled(image, WORKING_SIDE)
