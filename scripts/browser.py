"""A headless browser that takes the pictures for the docs and keeps them small."""

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = Path(__file__).parents[1] / "docs" / "images"
MOST_BYTES = 300_000


@contextlib.contextmanager
def browser_page(chromium: str = "chromium", width: int = 1000, height: int = 800) -> Iterator["Page"]:
    """A page of Debian's Chromium, `width` by `height` pixels.

    Raises
    ------
    SystemExit
        When there is no such program.
    """
    program = shutil.which(chromium)
    if program is None:
        raise SystemExit(f"{chromium} was not found. Install Debian's package chromium, or name one with --chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--hide-scrollbars"])
        try:
            yield browser.new_page(viewport={"width": width, "height": height})
        finally:
            browser.close()


def photograph(page: "Page", name: str, colours: int = 128, most_height: int = 0) -> Path:
    """Save the whole page, or its upper `most_height` pixels, as docs/images/NAME.png of few colours.

    Raises
    ------
    SystemExit
        When the picture is too large for the docs.
    """
    image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    if most_height:
        image = image.crop((0, 0, image.width, min(image.height, most_height)))
    out = IMAGES / f"{name}.png"
    image.quantize(colours, Image.Quantize.MAXCOVERAGE).save(out, optimize=True)  # keeps small bright marks
    print(f"{out}: {image.width} x {image.height}, {out.stat().st_size / 1e3:.0f} kB")
    if out.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{out} is larger than {MOST_BYTES / 1e3:.0f} kB: take fewer colours or less of the page.")
    return out
