"""DICOM files: the pixels as PNG, and from the header only the patient, as a serial number.

Names, dates, identifiers and every other tag are dropped, and files get numbers for names, as exports often name files
after patients. DICOM has no tag for an embryo's label: it comes from a table (`--table`, columns image and label, and
embryo, day where known).
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels.utils import pixel_array

from embryofl_data.importers.plan import Importer, Options, Plan, PlannedImage, bare
from embryofl_data.importers.rules import Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading.contract import UNREAD_SUFFIXES
from embryofl_data.reading.decode import MAX_PIXELS, DecodeError, scale_to_8_bits
from embryofl_data.reading.layouts import LABELS

SUFFIXES = tuple(suffix for suffix, kind in UNREAD_SUFFIXES.items() if kind == "dicom")
HEADER = ("PatientID", "PatientName", "Rows", "Columns", "BurnedInAnnotation", "NumberOfFrames")


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
            header = _header(source.read(file))
        except DecodeError as error:
            plan.skip(file, str(error))
            continue
        identity = str(header.get("PatientID", "") or header.get("PatientName", ""))
        patient = patients.setdefault(identity, f"p{len(patients) + 1:04}") if identity else ""
        burnt += str(header.get("BurnedInAnnotation", "")).upper() == "YES"
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
    header = _header(data)
    pixels_of_one = int(header.get("Rows") or 0) * int(header.get("Columns") or 0)
    if not 0 < pixels_of_one <= MAX_PIXELS:
        raise DecodeError("too_large" if pixels_of_one else "unreadable", f"{pixels_of_one} pixels")
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        values = np.asarray(pixel_array(dataset, index=0))
        inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    except Exception as error:  # a decoder may fail in any way on a damaged or hostile file
        raise DecodeError("unreadable", f"pixels cannot be read ({type(error).__name__})") from error
    if values.dtype != np.uint8:
        values = scale_to_8_bits(values - min(0, int(values.min())))
    buffer = io.BytesIO()
    Image.fromarray(255 - values if inverted else values).save(buffer, "PNG")
    return buffer.getvalue()


def _header(data: bytes) -> Mapping[str, Any]:
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=list(HEADER))
        return {tag: dataset.get(tag) for tag in HEADER}
    except Exception as error:  # see above
        raise DecodeError("unreadable", f"not a DICOM file ({type(error).__name__})") from error


IMPORTER = Importer("dicom", "DICOM", ("stated", "none"), detect, fill, convert)
