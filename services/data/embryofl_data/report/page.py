"""The report as one HTML page that needs nothing else: opened offline, it loads nothing and runs no script.

Every text is escaped by Jinja2, control and direction characters are replaced, thumbnails are made from decoded pixels
(nothing of the original file is copied), and the page's own policy forbids everything but its style and thumbnails.
"""

import base64
import hashlib
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from embryofl_data.reading.contract import printable
from embryofl_data.report.report import DataReport, Finding
from embryofl_data.report.thumbnails import Thumbnails

MOST_THUMBNAILS = 240
"""Over the whole page, so that it stays a few MB."""


def page(report: DataReport, thumbnails: Thumbnails) -> str:
    """The whole page; a file that has gone since has no thumbnail."""
    style = resources.files(__package__).joinpath("page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _ENVIRONMENT.get_template("page.html.j2").render(
        body=Markup(body(report, thumbnails)),  # noqa: S704 - made by a template that escapes
        facts=report.facts,
        style=style,
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
    )


def body(report: DataReport, thumbnails: Thumbnails) -> str:
    """The page below its heading, escaped: the clinic app shows it too."""
    left = MOST_THUMBNAILS
    findings = []
    for finding in report.findings:
        rows, left = _rows(finding, thumbnails, left)
        findings.append((finding, rows))
    return _ENVIRONMENT.get_template("body.html.j2").render(report=report, facts=report.facts, findings=findings)


def _rows(finding: Finding, thumbnails: Thumbnails, left: int) -> tuple[list[dict[str, object]], int]:
    """Rows of a finding for the template, and how many thumbnails may still follow."""
    rows: list[dict[str, object]] = []
    for shown in finding.shown:
        uris = [thumbnails.data_uri(file) for file in shown.files[:4]] if finding.pictures and left > 0 else []
        left -= len(uris)
        rows.append({"files": shown.files, "note": shown.note, "thumbnails": uris})
    return rows, left


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
