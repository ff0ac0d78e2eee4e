"""Names of metadata fields in an image file that may identify a patient, or give place and time of an image.

Only the names of the fields are kept, never their content.
"""

import contextlib
import io
import re

from PIL import ExifTags, Image

from embryofl_data.reading.decode import FORMATS

_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_TELLING_EXIF = re.compile(
    "Artist|BodySerialNumber|CameraOwnerName|Copyright|DateTime(Digitized|Original)?|DocumentName|HostComputer|"
    "ImageDescription|ImageID|ImageUniqueID|MakerNote|PageName|UserComment|XP(Author|Comment|Keywords|Subject|Title)"
)
_HARMLESS_TEXT = re.compile(
    r"(?i)software|dpi|gamma|exif|jfif.*|icc_profile|compression|progressive|date:(create|modify)"
)
"""Text fields that programs write on their own and that name nobody."""


def tags_of(data: bytes) -> tuple[str, ...]:
    """Names of identifying metadata fields in the bytes of an image file, sorted; none where it cannot be read."""
    fields: set[str] = set()
    with contextlib.suppress(Exception), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.format == "PNG" and any(chunk in data for chunk in _TEXT_CHUNKS):
            image.load()  # text may follow the pixels
        fields |= _exif(image) | _texts(image)
    return tuple(sorted(fields))


def _exif(image: Image.Image) -> set[str]:
    exif = image.getexif()
    fields = {"GPSInfo"} if exif.get_ifd(ExifTags.IFD.GPSInfo) else set()
    for source in (exif, exif.get_ifd(ExifTags.IFD.Exif)):
        for tag, value in source.items():
            name = ExifTags.TAGS.get(tag, "")
            if _TELLING_EXIF.fullmatch(name) and _filled(value) and not _is_program_text(value):
                fields.add(name)
    return fields


def _texts(image: Image.Image) -> set[str]:
    """Text chunks of PNG, and comments of JPEG and GIF."""
    fields = set()
    for key, value in image.info.items():
        name = str(key)
        text = isinstance(value, str | bytes) and _filled(value) and name not in ("exif", "icc_profile", "photoshop")
        comment = name in ("comment", "Comment")
        chunk = image.format == "PNG" and isinstance(value, str)
        if text and (comment or chunk) and not _HARMLESS_TEXT.fullmatch(name):
            fields.add(name[:40])
    if image.info.get("photoshop"):
        fields.add("Photoshop/IPTC block")
    return fields


def _filled(value: object) -> bool:
    if isinstance(value, bytes):
        return bool(value.strip(b"\0 \r\n\t").removeprefix(b"ASCII").removeprefix(b"UNICODE").strip(b"\0 "))
    return bool(str(value).strip("\0 \r\n\t"))


def _is_program_text(value: object) -> bool:
    """A description written by ImageJ or as OME-XML: axes and scale, no words about a patient."""
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    return data.startswith(b"ImageJ=")
