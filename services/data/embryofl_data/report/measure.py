"""Measure one file in a worker process: read, decode, measure, forget."""

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from embryofl_data.reading.decode import DECODE_VERSION, scaled
from embryofl_data.reading.sandbox import DecodeError
from embryofl_data.reading.scan import FileInfo, read_file, stamp_of
from embryofl_data.report import appearance
from embryofl_data.report.burnt_text import text_score
from embryofl_data.report.metadata import open_with_tags
from embryofl_data.report.prints import make_print

MEASURES: Final = (*appearance.NAMES, "text")
MEASURE_VERSION: Final = f"3-{DECODE_VERSION}"
"""Raised when a rule of measuring changes."""
WORKING_SIDE = 1024
"""Larger images are scaled down once and measured at this size."""
LARGE_BYTES = 32 * 2**20
"""A larger file, or image, is read while no other worker reads one as large: memory stays bounded."""

NO_LOCK = contextlib.nullcontext()


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

    @classmethod
    def not_read(cls, file: str, detail: str) -> "Measured":
        """Of a file that its worker process could not read."""
        return cls(info=FileInfo(file=file, kind="unreadable", detail=detail))


def measure_file(root: Path, file: str, large: AbstractContextManager[object] = NO_LOCK) -> Measured:
    """Read, decode and measure a file of a data folder, holding `large` while a large file is read and decoded.

    A file that cannot be read or decoded has a result, too, with the reason in `info.kind`.
    """
    try:
        size = (root / file).stat().st_size
        with large if size > LARGE_BYTES else NO_LOCK:
            data, info = read_file(root, file)
            opened, tags = open_with_tags(data, large if size <= LARGE_BYTES else NO_LOCK)
            image = working_size(opened.image)
            info = info.with_image(opened)
            del opened
    except DecodeError as error:
        # The file is known by size and time, so that it need not be read again.
        size_bytes, mtime_ns = stamp_of(root / file) or (-1, -1)
        info = FileInfo(file=file, kind=error.kind, detail=error.detail, size_bytes=size_bytes, mtime_ns=mtime_ns)
        return Measured(info=info)
    except OSError as error:
        return Measured(info=FileInfo.not_opened(file, error))
    grey = image.convert("L")
    values = (*appearance.measure_image(image), text_score(grey))
    return Measured(info=info, values=values, tags=tags, print_=make_print(grey).tobytes())


def working_size(image: Image.Image) -> Image.Image:
    """The image, or a smaller one of at most `WORKING_SIDE` pixels, at which it is measured."""
    return image if max(image.size) <= WORKING_SIDE else scaled(image, WORKING_SIDE)
