"""Measure one file in a worker process: read, decode, measure, forget."""

import contextlib
import io
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from embryofl_data.reading.decode import DECODE_VERSION, FORMATS, DecodeError, open_image
from embryofl_data.reading.optics import optics_of
from embryofl_data.reading.scan import FileInfo, read_file
from embryofl_data.report import picture
from embryofl_data.report.burnt_text import text_score
from embryofl_data.report.metadata import tags_of
from embryofl_data.report.prints import SIDE, make_print

MEASURES: Final = (*picture.NAMES, "text")
MEASURE_VERSION: Final = f"2-{DECODE_VERSION}"
"""Raised when a rule of measuring changes."""
WORKING_SIDE = 1024
"""Larger images are scaled down once and measured at this size."""
LARGE_PIXELS = 10_000_000
LARGE_BYTES = 32 * 2**20
"""Above either of these a file is measured while no other worker measures one as large: memory stays bounded."""


@dataclass(frozen=True)
class Measured:
    """What is known of one file; `values` and `print_` are empty where it could not be decoded.

    Attributes
    ----------
    values : tuple of float
        One for each of `MEASURES`.
    print_ : bytes
        int8 (SIDE, SIDE) of `prints.make_print`.
    tags : tuple of str
        Names of identifying metadata fields.
    """

    info: FileInfo
    values: tuple[float, ...] = ()
    print_: bytes = b""
    tags: tuple[str, ...] = field(default=())

    @property
    def print(self) -> npt.NDArray[np.int8]:
        """The print, int8 (SIDE, SIDE)."""
        return np.frombuffer(self.print_, np.int8).reshape(SIDE, SIDE)

    def to_bytes(self) -> bytes:
        """For the store."""
        head = json.dumps([self.info.model_dump(), self.values, self.tags]).encode("utf-8", "surrogateescape")
        return len(head).to_bytes(4, "big") + head + self.print_

    @classmethod
    def from_bytes(cls, data: bytes) -> "Measured":
        """Raises `ValueError` where the bytes are not those of `to_bytes`."""
        length = int.from_bytes(data[:4], "big")
        info, values, tags = json.loads(data[4 : 4 + length])
        print_ = data[4 + length :]
        if len(values) not in (0, len(MEASURES)) or len(print_) not in (0, SIDE * SIDE):
            raise ValueError("of another version")
        return cls(FileInfo.model_validate(info), tuple(values), print_, tuple(tags))


def measure_file(root: Path, file: str, large: AbstractContextManager[object] | None = None) -> Measured:
    """Read, decode and measure a file of a data folder, holding `large` while a large file is read and decoded.

    A file that cannot be read or decoded has a result too: `info.kind` says why.
    """
    try:
        size = (root / file).stat().st_size
        with _held(large, size > LARGE_BYTES):
            data, info = read_file(root, file)
            with _held(large, size <= LARGE_BYTES and _pixels(data) > LARGE_PIXELS):
                opened = open_image(data)
                image = working_size(opened.image)
                info = info.with_image(opened, optics_of(opened.image))
                del opened
    except DecodeError as error:
        return _failed(root, file, error)
    except OSError as error:
        return Measured(FileInfo.not_opened(file, error))
    grey = image.convert("L")
    values = (*picture.measure_picture(image), text_score(grey))
    return Measured(info, values, make_print(grey).tobytes(), tags_of(data))


def _failed(root: Path, file: str, error: DecodeError) -> Measured:
    """A file that was read but is no image: it is known by size and time, so that it need not be read again."""
    info = FileInfo(file=file, kind=error.kind, detail=error.detail)
    with contextlib.suppress(OSError):
        status = (root / file).stat()
        info = info.model_copy(update={"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns})
    return Measured(info)


def _held(large: AbstractContextManager[object] | None, is_large: bool) -> AbstractContextManager[object]:
    return large if large is not None and is_large else contextlib.nullcontext()


def _pixels(data: bytes) -> int:
    """Pixels as the header says, 0 where it cannot be read: decoding will say why."""
    with contextlib.suppress(Exception), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return image.width * image.height
    return 0


def working_size(image: Image.Image) -> Image.Image:
    """The image, or a smaller one of at most `WORKING_SIDE` pixels, at which it is measured."""
    side = max(image.size)
    if side <= WORKING_SIDE:
        return image
    scale = WORKING_SIDE / side
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)


def columns_of(values: Sequence[Sequence[float]]) -> dict[str, npt.NDArray[np.float64]]:
    """Measurements of several files by name: float64 (n,) each."""
    table = np.array(values, np.float64).reshape(len(values), len(MEASURES))
    return {name: table[:, number] for number, name in enumerate(MEASURES)}
