"""Draw the model card of a run on disk: docs/images/model-card.png.

    python scripts/draw_card.py RUN [--chromium PROGRAM]

RUN is the folder of a finished run, such as .embryofl/demo/synthetic/hub/runs/run-0001.
"""

import argparse
from pathlib import Path

from browser import browser_page, photograph

MOST_HEIGHT = 2500


def main() -> None:
    """Draw the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--chromium", default="chromium")
    given = parser.parse_args()
    with browser_page(given.chromium) as page:
        page.goto((given.run / "model-card.html").resolve().as_uri())
        photograph(page, "model-card", 64, MOST_HEIGHT)


if __name__ == "__main__":
    main()
