"""Thumbnails of a clinic's images, made from decoded pixels."""

import base64
import io
from functools import cache
from pathlib import Path

from PIL import Image

from embryofl_data.reading.decode import DecodeError, decode_image
from embryofl_data.reading.scan import read_file

SIDE = 128
MOST_BYTES = 64 * 2**20
"""Larger files have no thumbnail: the report would spend its time on them."""


class Thumbnails:
    """Thumbnails of the files of a data folder, each made once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.data_uri = cache(self._make)

    def _make(self, file: str) -> str:
        """A JPEG as a `data:` address, "" where the file cannot be shown."""
        try:
            if (self._root / file).stat().st_size > MOST_BYTES:
                return ""
            data, _ = read_file(self._root, file)
            pixels = decode_image(data, SIDE).pixels
        except (DecodeError, OSError, ValueError):
            return ""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
