"""Images like embryos, drawn by the tests: a disc with its own cells on an uneven background."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def embryo(number: int, side: int = 160) -> Image.Image:
    """An embryo-like image that depends on `number`."""
    random = np.random.default_rng(number)
    image = Image.new("L", (side, side), int(random.integers(150, 180)))
    draw = ImageDraw.Draw(image)
    middle, radius = side / 2 + random.uniform(-4, 4, 2), side * random.uniform(0.33, 0.38)
    draw.ellipse([*(middle - radius), *(middle + radius)], fill=130, outline=70, width=2)
    for _ in range(28):
        angle, distance = random.uniform(0, 2 * np.pi), radius * random.uniform(0.1, 0.85)
        place = middle + distance * np.array([np.cos(angle), np.sin(angle)])
        size = radius * random.uniform(0.1, 0.3)
        grey = int(random.integers(90, 190))
        draw.ellipse([*(place - size), *(place + size)], fill=grey, outline=grey - 50, width=2)
    grain = random.normal(0, 4, (side, side))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1)), np.float32) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def clinic(root: Path, patients: int = 30, cohort: int = 2, extra: str = "") -> list[str]:
    """Draw a folder in the data contract; returns its table's lines, to be changed and written by `write`."""
    (root / "images").mkdir(parents=True)
    lines = ["image,label,patient,embryo,day" + (f",{extra}" if extra else "")]
    for number in range(patients * cohort):
        embryo(number).save(root / f"images/{number:03}.png")
        lines.append(f"{number:03}.png,{number // cohort % 2},p{number // cohort},e{number},5")
    write(root, lines)
    return lines


def write(root: Path, lines: list[str]) -> None:
    (root / "labels.csv").write_text("\n".join(lines) + "\n", "utf-8")


def jpeg(image: Image.Image, quality: int = 90) -> Image.Image:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
