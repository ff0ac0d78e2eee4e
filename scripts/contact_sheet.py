"""Draw many embryos of synthetic clinics on one sheet: a row of day 3 and a row of day 5 for each clinic.

embryofl-datagen generate /tmp/clinics
python scripts/contact_sheet.py /tmp/clinics docs/images/contact-sheet.jpg
"""

import argparse
import csv
from pathlib import Path

from PIL import Image


def rows_of(clinic: Path, columns: int, skip: int) -> list[list[Path]]:
    """Files of one clinic: `columns` of each day, label 1 and label 0 in turn."""
    with (clinic / "labels.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    rows = []
    for day in ("3", "5"):
        pools = [[clinic / r["image"] for r in table if r["day"] == day and r["label"] == label] for label in "10"]
        pairs = [path for pair in zip(*(pool[skip:] for pool in pools), strict=False) for path in pair]
        rows.append(pairs[:columns])
    return rows


def contact_sheet(folder: Path, out: Path, columns: int, tile: int, skip: int) -> None:
    """Write the sheet; its format follows from the name of `out`."""
    clinics = sorted((p.parent for p in folder.glob("clinic-*/labels.csv")), key=lambda p: int(p.name.split("-")[1]))
    rows = [row for clinic in clinics for row in rows_of(clinic, columns, skip)]
    gap = max(tile // 50, 1)
    sheet = Image.new("RGB", (columns * (tile + gap) - gap, len(rows) * (tile + gap) - gap), "white")
    for y, row in enumerate(rows):
        for x, path in enumerate(row):
            with Image.open(path) as image:
                small = image.convert("RGB").resize((tile, tile), Image.Resampling.LANCZOS)
            sheet.paste(small, (x * (tile + gap), y * (tile + gap)))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=85)


def main() -> None:
    """Read the command line and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with clinic-1, clinic-2, ...")
    parser.add_argument("out", type=Path, help="picture to write (.jpg or .png)")
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--tile", type=int, default=160, help="side of one embryo in pixels")
    parser.add_argument("--skip", type=int, default=0, help="number of embryos of each label and day to skip")
    args = parser.parse_args()
    contact_sheet(args.folder, args.out, args.columns, args.tile, args.skip)


if __name__ == "__main__":
    main()
