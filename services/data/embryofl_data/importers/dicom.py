"""DICOM files, read in a sandbox: the pixels as PNG, and from the header only the patient, as a serial number.

Names, dates, identifiers and every other tag are dropped, and files get numbers for names, as exports often name files
after patients. DICOM has no tag for an embryo's label: it comes from a table (`--table`, columns image and label, and
embryo, day where known).
"""

import codecs
import contextlib
import io
from contextlib import AbstractContextManager

import numpy as np
import pydicom
from PIL import Image
from pydicom.charset import python_encoding
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

from embryofl_data.importers.plan import Importer, Options, Plan, PlannedImage, bare
from embryofl_data.importers.rules import Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading import sandbox
from embryofl_data.reading.contract import UNREAD_SUFFIXES
from embryofl_data.reading.decode import MAX_PIXELS, scale_to_8_bits
from embryofl_data.reading.layouts import LABELS
from embryofl_data.reading.sandbox import DecodeError, Reply

SUFFIXES = tuple(suffix for suffix, kind in UNREAD_SUFFIXES.items() if kind == "dicom")
HEADER = ("PatientID", "PatientName", "Rows", "Columns", "BurnedInAnnotation", "NumberOfFrames")
NO_LOCK = contextlib.nullcontext()


def detect(source: Source) -> str:
    """A file named like DICOM."""
    first = next((file for file in source.entries if file.lower().endswith(SUFFIXES)), "")
    return f"files such as {first}" if first else ""


def fill(plan: Plan, source: Source, options: Options) -> None:
    """Every DICOM file; the patients are numbered in the order of the files."""
    rows = {bare(row.cells["image"]): row for row in options.rows("image", "label", optional=("embryo", "day"))}
    patients: dict[str, str] = {}
    burnt = 0
    for file in source.entries:
        if not file.lower().endswith(SUFFIXES):
            if not file.lower().endswith((".csv", ".txt")):
                plan.skip(file, "not named like a DICOM file")
            continue
        try:
            header = sandbox.call(header_here, source.read(file), NO_LOCK)[0]
        except DecodeError as error:
            plan.skip(file, str(error))
            continue
        identity = str(header["PatientID"] or header["PatientName"])
        patient = patients.setdefault(identity, f"p{len(patients) + 1:04}") if identity else ""
        burnt += str(header["BurnedInAnnotation"]).upper() == "YES"
        row = rows.get(bare(file))
        cells = row.cells if row else {}
        facts = Facts(stated=LABELS.get(cells["label"]), stated_by=f"table row {row.number}") if row else Facts()
        target = f"dicom/{len(plan.images) + 1:06}.png"
        embryo, day = cells.get("embryo", ""), cells.get("day", "")
        plan.images.append(PlannedImage(file, facts, patient, embryo, day, target=target))
    plan.notes.append("all tags are dropped; patients and files are numbered; of several frames the first is imported")
    if burnt:
        plan.notes.append(f"{burnt} file(s) say that text is burnt into the image: review them first")


def convert(data: bytes) -> bytes:
    """A DICOM file's first frame as PNG, 8 bit, without anything of its header.

    Raises
    ------
    DecodeError
        When it has no image that can be read.
    """
    return sandbox.call(convert_here, data, NO_LOCK)[1]


def convert_here(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """The same in this process, a worker of the sandbox."""
    header = _header(data)
    try:
        pixels_of_one = int(header["Rows"] or 0) * int(header["Columns"] or 0)
        if not 0 < pixels_of_one <= MAX_PIXELS:
            raise DecodeError("too_large" if pixels_of_one else "unreadable", f"{pixels_of_one} pixels")
        dataset = pydicom.dcmread(io.BytesIO(data))
        values = np.asarray(pixel_array(dataset, index=0))
        if values.dtype != np.uint8:
            values = scale_to_8_bits(values - min(0, int(values.min())))
        inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
        buffer = io.BytesIO()
        Image.fromarray(255 - values if inverted else values).save(buffer, "PNG")
    except DecodeError:
        raise
    except Exception as error:  # a decoder may fail in any way on a damaged or hostile file
        raise DecodeError("unreadable", f"pixels cannot be read ({type(error).__name__})") from error
    return {}, buffer.getvalue()


def header_here(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """The tags of `HEADER` as text, "" where they are missing, in a worker of the sandbox."""
    return _header(data), b""


def _header(data: bytes) -> dict[str, str]:
    try:
        file = io.BytesIO(data)
        read_preamble(file, False)
        # Reading any tag of such a file would inflate all of it, to a thousand times its size.
        if _read_file_meta_info(file).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise DecodeError("unreadable", "compressed as a whole (deflated transfer syntax): export it without that")
        dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=list(HEADER))
        return {tag: str(dataset.get(tag) or "") for tag in HEADER}
    except DecodeError:
        raise
    except Exception as error:  # see above
        raise DecodeError("unreadable", f"not a DICOM file ({type(error).__name__})") from error


def _load_codecs() -> None:
    """Load what texts in files may be written in: a worker of the sandbox opens no further files."""
    for codec in set(python_encoding.values()):
        with contextlib.suppress(LookupError):  # pydicom's own names
            codecs.lookup(codec)


_load_codecs()


IMPORTER = Importer("dicom", "DICOM", ("stated", "none"), detect, fill, convert)
