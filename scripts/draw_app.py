"""Draw the clinic app: docs/images/app-*.png, with the model of a finished `make demo` and synthetic embryos.

    make demo CLINICS=3
    python scripts/draw_app.py [FEDERATION] [--chromium PROGRAM]

FEDERATION is the folder of a demo on synthetic clinics (default .embryofl/demo/synthetic). It shows a copy of
clinic-1's state: nothing of the federation is changed. The cohort is one synthetic patient's embryos.
"""

import argparse
import csv
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from PIL import Image, ImageFilter

from browser import browser_page, photograph
from kits.browser import running_app

SHOWN = ("models", "sent.jsonl", "own_results.json", "alive")  # parts of the clinic's state; no key is copied
WIDTH, PHONE = 1100, 390
COHORT = 4


def state_of(clinic: Path, place: Path) -> Path:
    """Copy the files that the app reads."""
    place.mkdir()
    if not list(clinic.glob("models/run-*/model.json")):
        raise SystemExit(f"There is no finished model in {clinic}. Run make demo first.")
    for name in SHOWN:
        source = clinic / name
        if source.is_dir():
            shutil.copytree(source, place / name)
        elif source.exists():
            shutil.copy2(source, place / name)
    (place / "alive").touch()
    return place


def cohort_of(data: Path, place: Path) -> list[Path]:
    """Write one patient's embryos of one day under plain names, the last of them out of focus."""
    if not (data / "datagen.json").exists():
        raise SystemExit(
            f"{data} is not one of the synthetic clinics. Images of real embryos never appear in the docs."
        )
    cohorts: dict[tuple[str, str], list[str]] = defaultdict(list)
    with (data / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            cohorts[row["patient"], row["day"]].append(row["image"])
    chosen = next(c for (_, day), c in sorted(cohorts.items()) if day == "5" and len(c) >= COHORT)
    place.mkdir()
    files = []
    for number, file in enumerate(chosen[:COHORT], 1):
        files.append(place / f"E{number}.png")
        image = Image.open(data / file)
        (image.filter(ImageFilter.GaussianBlur(4)) if number == COHORT else image).save(files[-1])
    return files


def main() -> None:
    """Draw the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("federation", type=Path, nargs="?", default=Path(".embryofl/demo/synthetic"))
    parser.add_argument("--chromium", default="chromium")
    given = parser.parse_args()
    data = given.federation.resolve() / "data" / "clinic-1"
    with tempfile.TemporaryDirectory() as temporary:
        state = state_of(given.federation / "clinics" / "clinic-1", Path(temporary) / "state")
        files = cohort_of(data, Path(temporary) / "cohort")
        shown = Path(temporary) / "clinic-1"
        shown.symlink_to(data)
        with running_app(state, shown) as link, browser_page(given.chromium, WIDTH) as page:
            base = link.split("/enter")[0]
            page.goto(base)
            photograph(page, "app-locked", 64, 360)
            page.goto(link)
            page.wait_for_url(f"{base}/")
            page.goto(f"{base}/score")
            page.set_input_files("#images", files)
            page.fill("#cohort", "Cohort 7")
            photograph(page, "app-score", 64)
            page.click("#go")
            page.wait_for_url("**/scored/2*", timeout=60_000)
            photograph(page, "app-result", 200)
            page.set_viewport_size({"width": PHONE, "height": 800})
            photograph(page, "app-phone", 160, 1700)
            page.set_viewport_size({"width": WIDTH, "height": 800})
            for name, path in (("home", "/"), ("records", "/scored"), ("sent", "/sent")):
                page.goto(base + path)
                photograph(page, f"app-{name}", 64)
            page.goto(f"{base}/report")
            page.click("main button")
            page.locator("#doing").wait_for(state="detached", timeout=120_000)
            page.get_by_role("heading", name="Findings").wait_for(timeout=120_000)
            photograph(page, "app-report", 160, 1500)


if __name__ == "__main__":
    main()
