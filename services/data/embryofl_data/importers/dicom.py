"""DICOM files: the pixels as PNG, and of the header the patient alone, as a number that says nothing.

Names, dates, identifiers and every other tag are dropped, and files get numbers for names, as exports often name files
after patients. DICOM has no tag for an embryo's label: it comes from a table (`--table`, columns image and label, and
embryo, day where known).
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from embryofl_data.importers.importer import Importer
from embryofl_data.importers.plan import Options, Plan, PlannedImage, SkippedFile
from embryofl_data.importers.rules import Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading.decode import MAX_PIXELS, DecodeError, scale_to_8_bits
from embryofl_data.reading.layouts import LABELS
from embryofl_data.reading.tables import read_table

SUFFIXES = (".dcm", ".dicom", ".dic")
HEADER = ("PatientID", "PatientName", "Rows", "Columns", "BurnedInAnnotation", "NumberOfFrames")


def detect(source: Source) -> str:
    """A file named like DICOM."""
    first = next((file for file in source.files if file.lower().endswith(SUFFIXES)), "")
    return f"files such as {first}" if first else ""


def plan(source: Source, options: Options) -> Plan:
    """Every DICOM file; the patients are numbered in the order of the files."""
    told = _told(options)
    patients: dict[str, str] = {}
    rows: list[PlannedImage] = []
    left_out, burnt = list(source.left_out), 0
    for file in source.files:
        if not file.lower().endswith(SUFFIXES):
            if not file.lower().endswith((".csv", ".txt")):
                left_out.append(SkippedFile(file, "not named like a DICOM file"))
            continue
        try:
            header = _header(source.read(file))
        except DecodeError as error:
            left_out.append(SkippedFile(file, str(error)))
            continue
        who = str(header.get("PatientID", "") or header.get("PatientName", ""))
        patient = patients.setdefault(who, f"p{len(patients) + 1:04}") if who else ""
        burnt += str(header.get("BurnedInAnnotation", "")).upper() == "YES"
        facts, embryo, day = told.get(file.rsplit("/", 1)[-1], (Facts(), "", ""))
        name = f"dicom/{len(rows) + 1:06}.png"
        rows.append(PlannedImage(file, facts, patient, embryo, day, target=name))
    notes = ["all tags dropped; patients and files are numbered; of several frames the first is taken"]
    if burnt:
        notes.append(f"{burnt} file(s) say that text is burnt into the picture: look at them before anything else")
    return Plan(tuple(rows), tuple(left_out), tuple(notes))


def convert(data: bytes) -> bytes:
    """A DICOM file's first frame as PNG, 8 bit, without anything of its header.

    Raises
    ------
    DecodeError
        When it holds no picture that can be read.
    """
    import pydicom
    from pydicom.pixels.utils import pixel_array

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
    import pydicom

    try:
        found = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=list(HEADER))
        return {tag: found.get(tag) for tag in HEADER}
    except Exception as error:  # see above
        raise DecodeError("unreadable", f"no DICOM file ({type(error).__name__})") from error


def _told(options: Options) -> dict[str, tuple[Facts, str, str]]:
    """What a table says of files: label, embryo, day. A label that is not understood is no label."""
    rows = read_table(options.table, ("image", "label"), ("embryo", "day")).rows if options.table else ()
    return {
        row.cells["image"].rsplit("/", 1)[-1]: (
            Facts(stated=LABELS.get(row.cells["label"]), stated_by=f"table row {row.number}"),
            row.cells.get("embryo", ""),
            row.cells.get("day", ""),
        )
        for row in rows
    }


IMPORTER = Importer("dicom", "DICOM", ("stated", "none"), "stated", detect, plan, convert)
