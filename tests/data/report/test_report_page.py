"""The HTML page loads nothing, runs nothing, and shows file names as text."""

import base64
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image
from typer.testing import CliRunner

from embryofl_clinic.cli.commands import app
from embryofl_data.report.page import page
from embryofl_data.report.run import check_folder
from kits.reports import clinic, embryo

pytestmark = pytest.mark.integration

NAMES = [
    "<script>alert(1)</script>.png",
    'a" onerror="alert(1)" x=".png',
    "{{ 7 * 7 }}.png",
    "胚胎 第三天.png",
    "جنين.png",
    "line\nbreak.png",
    "\u202egnp.exe.png",
    "&amp;.png",
]


class Elements(HTMLParser):
    """Collects the tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend((name, value or "") for name, value in attrs)

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    clinic(root)
    for number, name in enumerate(NAMES):  # an existing image, so that the page shows both
        embryo(number).save(root / "images" / name.replace("/", "∕"), exif=_exif())
    return root


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = "Maria Secret, born 1984"  # ImageDescription
    return exif


@pytest.fixture
def made(root):
    return page(check_folder(root))


def test_page_loads_nothing_but_style_and_inline_images(made):
    elements = Elements(made)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(elements.tags)
    assert all(value.startswith("data:image/jpeg;base64,") for name, value in elements.attributes if name == "src")
    assert {name for name, _ in elements.attributes} <= {
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "src",
        "alt",
    }
    policy = next(value for name, value in elements.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    assert elements.tags.count("img") >= 2 * len(NAMES)


def test_file_names_are_text(made):
    text = Elements(made).text
    for name in NAMES:
        shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name.replace("/", "∕"))
        assert shown in text
    assert "\u202e" not in made


def test_thumbnails_are_drawn_from_pixels(made):
    sources = re.findall(r"data:image/jpeg;base64,([^\"]+)", made)
    assert "Secret" not in made
    for source in sources:
        data = base64.b64decode(source)
        assert b"Secret" not in data and not Image.open(io.BytesIO(data)).getexif()


def test_the_command_writes_the_page_for_its_owner_only(root, tmp_path):
    result = CliRunner().invoke(app, ["check", str(root), "--html", str(tmp_path / "page.html"), "--json"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600


def test_the_page_is_never_written_into_the_data(root):
    result = CliRunner().invoke(app, ["check", str(root), "--html", str(root / "page.html")])
    assert result.exit_code != 0 and not (root / "page.html").exists()
