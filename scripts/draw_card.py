"""Draw a model card: docs/images/model-card.png, of a run on disk.

    python scripts/draw_card.py RUN [--chromium PROGRAM]

RUN is the folder of a run that is over, such as .embryofl/demo/synthetic/hub/runs/run-0001; its model-card.html is
photographed by a browser without a window.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 1000, 2500


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--chromium", default="chromium")
    given = parser.parse_args()
    page = (given.run / "model-card.html").resolve()
    with tempfile.TemporaryDirectory() as temporary:
        picture = Path(temporary) / "card.png"
        subprocess.run(
            [given.chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--screenshot={picture}", f"--window-size={WIDTH},{HEIGHT}", page.as_uri()],
            check=True,
        )  # fmt: skip
        out = ROOT / "docs" / "images" / "model-card.png"
        Image.open(picture).convert("RGB").quantize(64).save(out, optimize=True)
        print(f"{out}: {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
