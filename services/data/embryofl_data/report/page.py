"""The report as one HTML page that needs nothing else: opened offline, it loads nothing and runs no script.

Every text is escaped by Jinja2, control and direction characters are replaced, thumbnails are made from decoded pixels
(nothing of the original file is copied), and the page's own policy forbids everything but its style and thumbnails.
"""

import base64
import hashlib
import io
from functools import cache, partial
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from embryofl_data.reading.contract import printable
from embryofl_data.reading.decode import decode_image
from embryofl_data.reading.sandbox import DecodeError
from embryofl_data.reading.scan import read_file
from embryofl_data.report.report import DataReport, Finding

MOST_THUMBNAILS = 240
"""Over the whole page, so that it stays a few MB."""
SIDE = 128
MOST_BYTES = 64 * 2**20
"""Larger files have no thumbnail: the report would spend its time on them."""


def page(report: DataReport) -> str:
    """The whole page; a file that has gone since has no thumbnail."""
    style = resources.files(__package__).joinpath("page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _ENVIRONMENT.get_template("page.html.j2").render(
        body=Markup(body(report)),  # noqa: S704 - made by a template that escapes
        facts=report.facts,
        style=style,
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
    )


def body(report: DataReport) -> str:
    """The page below its heading, escaped: the clinic app shows it too."""
    thumbnail = cache(partial(_thumbnail, Path(report.facts.root)))
    left = MOST_THUMBNAILS
    findings: list[tuple[Finding, list[dict[str, object]]]] = []
    for finding in report.findings:
        rows: list[dict[str, object]] = []
        for shown in finding.shown:
            uris = [thumbnail(file) for file in shown.files[:4]] if finding.pictures and left > 0 else []
            left -= len(uris)
            rows.append({"files": shown.files, "note": shown.note, "thumbnails": uris})
        findings.append((finding, rows))
    return _ENVIRONMENT.get_template("body.html.j2").render(report=report, facts=report.facts, findings=findings)


def _thumbnail(root: Path, file: str) -> str:
    """A JPEG as a `data:` address, "" where the file cannot be shown."""
    try:
        if (root / file).stat().st_size > MOST_BYTES:
            return ""
        pixels = decode_image(read_file(root, file)[0], SIDE)
    except (DecodeError, OSError, ValueError):
        return ""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def clean(text: str) -> str:
    """Text from file names, without control or direction characters."""
    return printable(text, "\N{REPLACEMENT CHARACTER}")


_ENVIRONMENT = Environment(
    loader=PackageLoader("embryofl_data", "report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["clean"] = clean
