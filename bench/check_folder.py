"""How long `embryofl-clinic check` takes: 10,000 synthetic images of 500x500, a second check, and one with some changed.

    python bench/check_folder.py [IMAGES] [FOLDER]

FOLDER keeps the images for the next time (default: a temporary folder). Ends with 1 if a bound is exceeded: 3 minutes for
10,000 images on two cores, and 1 GB of memory for the report and all its workers together.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, ImageDraw, ImageFilter

SIDE = 500
GRAINS = 40
BOUND_S, BOUND_MB = 180.0, 1000.0
CHANGED = 50


def draw(number: int) -> Image.Image:
    """A disc with cells and unique grain on an even ground: fingerprints differ as much as those of real embryos."""
    random = np.random.default_rng(number)
    image = Image.new("L", (SIDE, SIDE), int(random.integers(150, 180)))
    pen = ImageDraw.Draw(image)
    middle, radius = SIDE / 2 + random.uniform(-12, 12, 2), SIDE * random.uniform(0.33, 0.38)
    pen.ellipse([*(middle - radius), *(middle + radius)], fill=130, outline=70, width=5)
    for _ in range(28):
        angle, distance = random.uniform(0, 2 * np.pi), radius * random.uniform(0.1, 0.85)
        place = middle + distance * np.array([np.cos(angle), np.sin(angle)])
        size = radius * random.uniform(0.1, 0.3)
        grey = int(random.integers(90, 190))
        pen.ellipse([*(place - size), *(place + size)], fill=grey, outline=grey - 50, width=3)
    inside = Image.new("L", image.size)
    ImageDraw.Draw(inside).ellipse([*(middle - radius), *(middle + radius)], fill=255)
    texture = Image.fromarray(random.integers(60, 200, (GRAINS, GRAINS), dtype=np.uint8))
    image.paste(texture.resize(image.size, Image.Resampling.BICUBIC), mask=inside.point(lambda value: value * 2 // 3))
    grain = random.integers(-8, 9, (SIDE, SIDE), dtype=np.int16)
    pixels = np.asarray(image.filter(ImageFilter.BoxBlur(2)), np.int16) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB")


def make(root: Path, images: int) -> None:
    """Draw the folder; existing images are kept."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    for number in range(images):
        path = root / f"images/{number:05}.jpg"
        if not path.exists():
            draw(number).save(path, quality=90)
    rows = [f"{n:05}.jpg,{n // 4 % 2},p{n // 4},{3 + 2 * (n // 8 % 2)}" for n in range(images)]
    (root / "labels.csv").write_text("\n".join(["image,label,patient,day", *rows]) + "\n")


def timed(root: Path, cache: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds, and peak memory in MB of the command and its workers together."""
    command = [str(Path(sys.executable).parent / "embryofl-clinic"), "check", str(root), "--cache", str(cache)]
    begun, peak, over = time.monotonic(), 0.0, threading.Event()
    used: dict[int, float] = {}  # by process, since workers are not children of this process
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.2):
            try:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                peak = max(peak, sum(one.memory_info().rss for one in family) / 1e6)
                for one in family:
                    times = one.cpu_times()
                    used[one.pid] = times.user + times.system
            except psutil.NoSuchProcess:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.wait()
    over.set()
    watcher.join()
    return time.monotonic() - begun, sum(used.values()), peak


def timed_check(what: str, root: Path, cache: Path) -> tuple[float, float]:
    """Check once, print a line, and return seconds and memory."""
    seconds, processor, peak = timed(root, cache)
    cores = len(os.sched_getaffinity(0))
    print(f"{what}: {seconds:.0f} s ({processor:.0f} s of processor, {cores} cores), {peak:.0f} MB", flush=True)
    return seconds, peak


def main() -> int:
    """Print a line per run; 1 if a bound is exceeded."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(temporary) / "data"
        make(root, images)
        cache = Path(temporary) / "cache"
        first, peak = timed_check(f"first check of {images} images", root, cache)
        _, more = timed_check("second check, nothing changed", root, cache)
        for number in range(CHANGED):
            draw(images + int(time.time()) + number).save(root / f"images/{number:05}.jpg", quality=90)
        _, most = timed_check(f"third check, {CHANGED} images changed", root, cache)
    return int(first > BOUND_S * images / 10_000 or max(peak, more, most) > BOUND_MB)


if __name__ == "__main__":
    sys.exit(main())
