"""Draw the data report's page: docs/images/report.png, of a synthetic clinic with planted faults.

    python scripts/draw_report.py [--chromium PROGRAM]

A synthetic clinic is drawn. A name is printed into some images, others are duplicated, smeared or cut.
`embryofl-clinic check --html` writes the page, and a headless browser photographs it.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from browser import browser_page, photograph
from embryofl_data.reading.listing import list_images

BIN = Path(sys.executable).parent
MOST_HEIGHT = 1500


def plant(folder: Path) -> None:
    """Plant one of several faults in some of the images."""
    paths = [folder / file for file in list_images(folder).files]
    for path in paths[10:13]:
        image = Image.open(path).convert("L")
        ImageDraw.Draw(image).text((6, 6), "DOE, JANE 12.03.1988", 255, font=ImageFont.load_default(16))
        image.save(path)
    for number, path in enumerate(paths[40:43]):
        rotated = Image.open(path).rotate(70, Image.Resampling.BICUBIC, fillcolor=Image.open(path).getpixel((2, 2)))
        rotated.save(paths[90 + number])
    for path in paths[60:62]:
        image = Image.open(path)
        image.crop((0, image.height // 2, image.width, image.height // 2 + image.height // 8)).resize(image.size).save(
            path
        )
    paths[70].write_bytes(paths[70].read_bytes()[:2000])
    paths[71].rename(paths[71].with_name("Schmidt_Anna_1988-03-12" + paths[71].suffix))


def main() -> None:
    """Draw the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", default="chromium")
    chromium = parser.parse_args().chromium
    with tempfile.TemporaryDirectory() as temporary:
        folder, page = (Path(temporary) / name for name in ("clinic", "page.html"))
        generate = [
            str(BIN / "embryofl-datagen"),
            "generate",
            str(folder),
            "--images",
            "240",
            "--only",
            "1",
            "--size",
            "192",
        ]
        subprocess.run(generate, check=True)
        plant(folder)
        subprocess.run(
            [str(BIN / "embryofl-clinic"), "check", folder.name, "--html", str(page)], cwd=temporary, check=False
        )
        with browser_page(chromium) as shown:
            shown.goto(page.as_uri())
            photograph(shown, "report", most_height=MOST_HEIGHT)


if __name__ == "__main__":
    main()
