"""Ten thousand damaged files for every parser of files that others made: each is read, or rejected with a reason.

Image files and DICOM go through the sandbox, where a crash or a file that takes too long is told apart from a rejection.
Every input follows from its number, which a failure shows.
"""

import io
import random
import re
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from embryofl.errors import UserError
from embryofl_data.importers import dicom
from embryofl_data.importers.source import open_source
from embryofl_data.reading.decode import received
from embryofl_data.reading.sandbox import DecodeError
from embryofl_data.reading.tables import parse_table
from kits.decoding import open_with_tags
from kits.dicom import dicom_bytes

pytestmark = pytest.mark.slow

INPUTS = 10_000
SANDBOX = re.compile("crashed|longer than|gave no image|No module|ModuleNotFound|Permi|permitted|LookupError")
"""What is not a reason to reject a file, but that a worker died, or lacks something that it should have loaded."""
TOKENS = (b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\1", b"\x2a")


def damaged(good: bytes, number: int) -> bytes:
    """The `number`-th damaged copy: bytes changed, parts cut out, repeated, moved, lengths and counts made extreme."""
    chance = random.Random(number)
    data = bytearray(good)
    # Headers are where the decisions are: half of all changes go there.
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        end = max(1, len(data))
        at = chance.randrange(min(end, 200) if chance.random() < 0.5 else end)
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                token = chance.choice(TOKENS)
                data[at : at + len(token)] = token
            case 2:
                del data[at : at + chance.randrange(1, 40)]
            case 3:
                part = data[at : at + chance.randrange(1, 40)]
                data[at:at] = part * chance.choice((1, 1, 50))
            case 4:
                other = chance.randrange(end)
                data[at : at + 8] = data[other : other + 8]
            case 5:
                data[at : at + 1] = bytes([data[at] ^ 1 << chance.randrange(8)]) if at < len(data) else b""
    return bytes(data)


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010E] = 6, "embryo"
IMAGES = {
    "PNG": [encoded("PNG", exif=EXIF), encoded("PNG", "P"), encoded("PNG", "I;16")],
    "JPEG": [encoded("JPEG", exif=EXIF), encoded("JPEG", "CMYK"), encoded("JPEG", progressive=True)],
    "TIFF": [
        encoded("TIFF", compression=name) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    ],
    "BMP": [encoded("BMP"), encoded("BMP", "P")],
    "GIF": [encoded("GIF"), encoded("GIF", save_all=True, append_images=[Image.new("RGB", (20, 24), "red")])],
}


def tried(seeds: list[bytes], parse: Callable[[bytes], object]) -> tuple[int, int]:
    """How many damaged inputs were read, and rejected; anything else a parser raises is a failure with its number."""
    read = rejected = 0
    for number in range(INPUTS):
        try:
            parse(damaged(seeds[number % len(seeds)], number))
            read += 1
        except (DecodeError, UserError) as error:
            assert not SANDBOX.search(str(error)), f"input {number}: {error}"
            rejected += 1
        except Exception as error:
            raise AssertionError(f"input {number}: {error!r}") from error
    return read, rejected


@pytest.mark.parametrize("kind", IMAGES)
def test_damaged_images_are_read_or_rejected(ask, kind):
    read, rejected = tried(IMAGES[kind], lambda data: received(*ask(open_with_tags, data)))
    assert read + rejected == INPUTS and min(read, rejected) > INPUTS // 100


def test_damaged_dicom_files_are_read_or_rejected():
    read, rejected = tried([dicom_bytes(1, "4711"), dicom_bytes(2, "4711", "MONOCHROME1")], dicom.convert)
    assert read + rejected == INPUTS and min(read, rejected) > INPUTS // 100


def test_damaged_archives_are_read_or_rejected(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("set/a.png", encoded("PNG"))
        out.writestr("set/labels.csv", "image,label\na.png,1\n")
    path = tmp_path / "set.zip"

    def parse(data: bytes) -> None:
        path.write_bytes(data)
        source = open_source(path)
        for file in source.entries:
            source.read(file)
        for archive, _ in filter(None, source.entries.values()):
            archive.close()

    read, rejected = tried([buffer.getvalue()], parse)
    assert read + rejected == INPUTS and min(read, rejected) > INPUTS // 100


TABLE = 'image;label;patient;embryo;day\na.png;1;p1;e1;5\n"b;\n.png";0;p2;"e""2";3\n\nc.png;;p3;e3;\n'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_damaged_tables_are_read_or_rejected(encoding):
    seeds = [TABLE.encode(encoding), TABLE.replace(";", ",").encode(encoding)]
    read, rejected = tried(seeds, lambda data: parse_table(data, "labels.csv", ("image", "label"), ("patient", "day")))
    assert read + rejected == INPUTS and min(read, rejected) > INPUTS // 100
