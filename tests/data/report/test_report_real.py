"""The report on real images, if they are available."""

import csv
import random
import shutil
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from embryofl_data.reading.listing import list_images
from embryofl_data.report.burnt_text import text_score
from embryofl_data.report.report import DataReport
from embryofl_data.report.run import check_folder
from kits.importing import SHARED

HUNGVUONG = SHARED / "hungvuong"
pytestmark = [
    pytest.mark.slow,  # 673 images are measured
    pytest.mark.skipif(not HUNGVUONG.is_dir(), reason="needs ../shared/data"),
]

ALSO_ONE_EMBRYO = (
    "D3_228 D3_229",
    "D5_345 D5_346",
    "D5_351 D5_352",
    "D5_045 D5_049",
    "D3_374 D3_375",
    "D5_337 D5_338",
    "D5_165 D5_166",
    "D3_224 D3_225",
    "D3_020 D3_021",
)
"""Pairs that are missing from same_embryo.csv and show one embryo, as a side-by-side inspection confirmed."""
SMEARED = ["D3_385", "D5_175", "D5_180", "D5_341", "D3_580", "D5_328", "D3_473", "D5_209", "D5_089", "D3_541"]
"""Smeared or stretched, as an inspection confirmed."""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> DataReport:
    """Report on images and labels without the table of images that show the same embryo."""
    root = tmp_path_factory.mktemp("hungvuong") / "data"
    shutil.copytree(HUNGVUONG, root, ignore=shutil.ignore_patterns("same_embryo.csv"))
    return check_folder(root)


def finding(report: DataReport, name: str):
    return next(each for each in report.findings if each.id == name)


def stems(files) -> frozenset[str]:
    return frozenset(Path(file).stem for file in files)


def test_images_of_one_embryo_are_found(report):
    with (HUNGVUONG / "same_embryo.csv").open() as table:
        rows = [(row["Embryo"], Path(row["Image"]).stem) for row in csv.DictReader(table)]
    listed = {frozenset((a, b)) for (one, a), (two, b) in combinations(rows, 2) if one == two}
    pairs = finding(report, "near-duplicates").values["pairs"]
    # the table only covers the labelled images, which are in train
    result = {stems(pair[:2]) for pair in pairs if all(file.startswith("train/") for file in pair[:2])}
    assert len(result & listed) >= 0.9 * len(listed)
    right = listed | {frozenset(pair.split()) for pair in ALSO_ONE_EMBRYO}
    assert len(result & right) >= 0.9 * len(result)


def test_the_day_is_named_as_a_shortcut(report):
    result = finding(report, "shortcuts")
    assert "the day alone" in result.found
    assert result.values["the day alone"]["auroc"] == pytest.approx(0.79, abs=0.02)


def test_smeared_and_empty_images_are_listed(report):
    named = stems(finding(report, "smeared").values["files"])
    assert named >= set(SMEARED) and len(named) <= 30
    assert stems(finding(report, "no-embryo").values["files"]) == {"D3_557"}
    assert stems(finding(report, "off-frame").values["files"]) >= {"D3_575", "D3_379", "D3_485", "D3_483", "D3_388"}


FONTS = sorted(Path("/usr/share/fonts/truetype").rglob("*.ttf"))
NAMES = ("Anna Schmidt", "GARCIA, MARIA", "Nguyen Thi Lan", "K. Yilmaz", "O'Brien Siobhan", "DOE^JANE", "Sato Yuki")


def printed(image: Image.Image, choice: random.Random) -> Image.Image:
    """An image with a name and a date printed on it, as instruments do."""
    image = image.copy()
    size = choice.randint(11, 26)
    # DejaVu, or Pillow's own font
    font = ImageFont.truetype(str(choice.choice(FONTS)), size) if FONTS and choice.random() < 0.5 else None
    font = font or ImageFont.load_default(size)
    born = f"{choice.randint(1, 28):02}{choice.choice('./-')}{choice.randint(1, 12):02}.{choice.randint(1975, 2001)}"
    text = f"{choice.choice(NAMES)} {born}"
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    room = max(1, image.width - int(right - left) - 4), max(1, image.height - int(bottom - top) - 8)
    place = choice.randint(2, room[0] + 1), choice.choice([2, room[1]])
    ink = choice.choice([0, 255])
    if choice.random() < 0.3:
        draw.rectangle(draw.textbbox(place, text, font=font), fill=255 - ink)
    draw.text(place, text, ink, font=font)
    return image


def test_printed_names_are_found_and_embryos_are_not_mistaken_for_text(report):
    choice = random.Random(3)
    files = [path for name in ("hungvuong", "stork", "kromp") for path in _images(SHARED / name)]
    sample = choice.sample(files, 150)
    images = [Image.open(file).convert("L") for file in sample]
    scores = [text_score(printed(image, choice)) for image in images if min(image.size) >= 200]
    assert sum(score >= 0.5 for score in scores) >= 0.95 * len(scores)
    alarms = finding(report, "text").count
    others = [text_score(Image.open(f).convert("L")) >= 0.5 for f in files if HUNGVUONG not in f.parents]
    assert alarms + sum(others) <= 0.02 * len(files)


def _images(root: Path) -> list[Path]:
    return [root / file for file in list_images(root).files]
