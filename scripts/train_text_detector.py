"""Train the detector of burnt-in text (`embryofl_data/report/burnt_text.npz`).

    python scripts/train_text_detector.py EMBRYOS FONTS [FONTS ...] --out burnt_text.npz

EMBRYOS is a folder of synthetic embryos (`embryofl-datagen generate EMBRYOS`), FONTS are folders of TrueType or WOFF fonts.
It is trained only on synthetic embryos, procedural textures and printed lines, never on real images.
"""

import argparse
import io
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont
from torch import nn
from torch.nn import functional

from embryofl_data.reading.listing import is_image_name
from embryofl_data.report.burnt_text import STRIDE, normalise

SIDE = 160
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    "0123456789./-: ",
    "äöüßéèñçøåÄÖÜÉÑ",
)
MORE_ALPHABETS = (  # where the font has them: DejaVu
    "łśžğıİőšč",
    "абвгдежзиклмнопрстуфхцчшщыэюя",
    "αβγδεζηθικλμνξοπρστυφχψω",
)


def smooth_noise(random_: np.random.Generator, scale: float) -> np.ndarray:
    """Noise with a grain of `scale` pixels, float32 (SIDE, SIDE), standard deviation 1."""
    side = max(2, round(SIDE / scale))
    grains = Image.fromarray(random_.normal(size=(side, side)).astype(np.float32))
    noise = np.asarray(grains.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def texture(random_: np.random.Generator) -> Image.Image:
    """A background without text: light, grain, and some of rims, cells, debris, ripples, stripes and borders."""
    image = random_.uniform(5, 230) + smooth_noise(random_, 80) * random_.uniform(0, 25)
    for scale in (1.0, 2.0, 4.0, 8.0, 16.0):
        if random_.random() < 0.5:
            image = image + smooth_noise(random_, scale) * random_.uniform(0, 14)
    for _ in range(random_.integers(0, 9)):  # rims of zonae and wells
        _add_disc(image, random_, random_.uniform(4, 90))
    if random_.random() < 0.6:  # a cluster of cells, grainy inside
        place, reach = random_.uniform(20, SIDE - 20, size=2), random_.uniform(5, 50)
        size = random_.uniform(4, 30)
        for _ in range(random_.integers(2, 14)):
            _add_disc(image, random_, size * random_.uniform(0.6, 1.4), place + random_.normal(0, reach, size=2))
    for _ in range(random_.integers(0, 4) if random_.random() < 0.6 else 0):  # heaps of debris, of sperm and of blebs
        place, reach, size = random_.uniform(0, SIDE, size=2), random_.uniform(3, 16), random_.uniform(1, 5)
        for _ in range(random_.integers(3, 25)):
            _add_disc(image, random_, size * random_.uniform(0.5, 1.5), place + random_.normal(0, reach, size=2))
    _add_ripples(image, random_)
    if random_.random() < 0.3:  # border of the image
        edge = random_.integers(4, SIDE - 4)
        image[edge:] = random_.choice([0, 255, random_.uniform(0, 255)])
    if random_.random() < 0.1:  # a scale bar without numbers
        row, column, length = random_.integers(4, SIDE - 10), random_.integers(0, 60), random_.integers(20, 90)
        image[row : row + random_.integers(1, 5), column : column + length] = random_.choice([0, 255])
    return _finish(Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)), random_)


def _add_disc(image: np.ndarray, random_: np.random.Generator, radius: float, place: np.ndarray | None = None) -> None:
    """Add a disc in place: a rim that is dark, bright or both, another grey inside, often grainy or woven."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    row, column = random_.uniform(-40, SIDE + 40, size=2) if place is None else place
    distance = np.hypot(rows - row, (columns - column) * random_.uniform(0.6, 1.0)) - radius
    width = random_.uniform(0.6, 3.5)
    inside = distance < 0
    image += random_.uniform(-110, 90) * np.exp(-((distance / width) ** 2))
    if random_.random() < 0.6:  # the bright fringe next to a dark rim
        image += random_.uniform(-50, 70) * np.exp(-(((distance + 2 * width) / width) ** 2))
    image += inside * random_.uniform(-30, 30)
    if random_.random() < 0.6:
        image += inside * smooth_noise(random_, random_.uniform(1, 5)) * random_.uniform(2, 30)
    if random_.random() < 0.1:
        step = random_.uniform(0.5, 2.5)
        image += (
            inside * np.sin(rows * step) * np.sin(columns * step * random_.uniform(0.7, 1.4)) * random_.uniform(3, 35)
        )


def _add_ripples(image: np.ndarray, random_: np.random.Generator) -> None:
    """Add, in place, the ripples around a well and the stripes of a frame grabber, each sometimes."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    if random_.random() < 0.25:
        row, column = random_.uniform(-60, SIDE + 60, size=2)
        image += random_.uniform(2, 25) * np.sin(np.hypot(rows - row, columns - column) / random_.uniform(0.8, 3))
    if random_.random() < 0.25:
        direction = random_.choice([0, np.pi / 2, random_.uniform(0, np.pi)])
        phase = rows * np.sin(direction) + columns * np.cos(direction)
        image += random_.uniform(2, 20) * np.sign(np.sin(phase * random_.uniform(0.3, 3.1))) * random_.uniform(0, 1)


def _finish(image: Image.Image, random_: np.random.Generator) -> Image.Image:
    """Turn, stretch, enlarge, blur and sharpen as cameras and exports do."""
    if random_.random() < 0.5:
        image = image.rotate(90 * random_.integers(0, 4))
    if random_.random() < 0.15:  # smeared: much longer than wide
        strip = image.crop((0, 0, SIDE, random_.integers(20, 80)))
        image = strip.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    if random_.random() < 0.3:  # enlarged, with or without smoothing, often from a compressed image
        side = round(SIDE / random_.uniform(1.2, 4))
        small = image.resize((side, side), Image.Resampling.BOX)
        small = _compressed(small, random_) if random_.random() < 0.5 else small
        image = small.resize((SIDE, SIDE), random_.choice([Image.Resampling.NEAREST, Image.Resampling.BICUBIC]))
    if random_.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(random_.uniform(0.3, 2)))
    if random_.random() < 0.3:
        image = image.filter(ImageFilter.UnsharpMask(random_.uniform(0.5, 3), int(random_.integers(50, 400)), 0))
    return image


def _compressed(image: Image.Image, random_: np.random.Generator) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(random_.integers(40, 97)))
    return Image.open(buffer).convert("L")


def embryo_patch(embryos: Sequence[Path], random_: np.random.Generator) -> Image.Image:
    """A patch of a drawn embryo at some magnification."""
    image = Image.open(embryos[random_.integers(len(embryos))]).convert("L")
    side = int(random_.integers(80, image.width + 1))
    left, top = random_.integers(0, image.width - side + 1, size=2)
    patch = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    contrast, light = random_.uniform(0.6, 2.2), random_.uniform(-40, 40)
    return _finish(patch.point(lambda value: (value - 128) * contrast + 128 + light), random_)


def line_of_text(choice: random.Random, alphabets: Sequence[str]) -> str:
    """Words and numbers like those on labels."""
    words = []
    for _ in range(choice.randint(1, 3)):
        alphabet = choice.choice(alphabets)
        word = "".join(choice.choice(alphabet) for _ in range(choice.randint(3, 10)))
        words.append(word.capitalize() if choice.random() < 0.5 else word)
    return choice.choice([" ", " ", ", ", "_", "  "]).join(words)


def print_text(image: Image.Image, fonts: Sequence[Path], choice: random.Random) -> tuple[Image.Image, Image.Image]:
    """Print one or two lines; returns the image and a mask (mode `L`) of where letters are."""
    mask = Image.new("L", image.size)
    for _ in range(choice.randint(1, 2)):
        size = round(8 * 4.5 ** choice.random())
        path = choice.choice(fonts)
        font = ImageFont.load_default(size) if choice.random() < 0.12 else ImageFont.truetype(str(path), size)
        wide = "DejaVu" in path.name and isinstance(font, ImageFont.FreeTypeFont) and "DejaVu" in str(font.getname()[0])
        text = line_of_text(choice, ALPHABETS + MORE_ALPHABETS if wide else ALPHABETS)
        glyphs = Image.new("L", image.size)
        box = font.getbbox(text)
        place = (choice.randint(-10, max(0, SIDE - int(box[2]))), choice.randint(-2, SIDE - int(box[3]) + 2))
        ImageDraw.Draw(glyphs).text(place, text, fill=255, font=font)
        drawn = glyphs.getbbox()
        if drawn is None:
            continue
        under = float(np.median(np.asarray(image.crop(drawn))))
        draw = ImageDraw.Draw(image)
        style = choice.random()
        if style < 0.2:  # a box behind
            ground, ink = choice.choice([(0, 255), (255, 0), (0, 160), (255, 60)])
            draw.rectangle((drawn[0] - 2, drawn[1] - 2, drawn[2] + 1, drawn[3] + 1), fill=ground)
        elif style < 0.35:  # an outline
            ground, ink = choice.choice([(0, 255), (255, 0)])
            draw.text(place, text, fill=ink, font=font, stroke_width=1, stroke_fill=ground)
        else:
            difference = choice.uniform(30, 230)
            ink = (
                under + difference
                if under + difference <= 255 and (choice.random() < 0.5 or under < difference)
                else under - difference
            )
            ink = int(np.clip(ink, 0, 255))
            if abs(ink - under) < 25:
                ink = 255 if under < 128 else 0
        image.paste(Image.new("L", image.size, ink), mask=glyphs)
        mask = ImageChops.lighter(mask, glyphs)
    return image, mask


def example(embryos: Sequence[Path], fonts: Sequence[Path], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One image, float32 (SIDE, SIDE), normalised, and its target (SIDE/STRIDE, SIDE/STRIDE): 1 text, 0 none, -1 edge."""
    random_, choice = np.random.default_rng(seed), random.Random(seed)
    image = embryo_patch(embryos, random_) if random_.random() < 0.3 else texture(random_)
    mask = Image.new("L", image.size)
    if random_.random() < 0.5:
        image, mask = print_text(image, fonts, choice)
    if random_.random() < 0.6:
        image = _compressed(image, random_)
    cells = SIDE // STRIDE
    inked = np.asarray(mask.filter(ImageFilter.MaxFilter(5)), np.float32) > 100
    share = inked.reshape(cells, STRIDE, cells, STRIDE).mean(axis=(1, 3))
    target = np.where(share >= 0.3, 1, np.where(share == 0, 0, -1))
    near = np.asarray(Image.fromarray((share > 0).astype(np.uint8)).filter(ImageFilter.MaxFilter(3))) > 0
    target[(target == 0) & near] = -1
    return normalise(np.asarray(image)), target.astype(np.int8)


def network() -> nn.Sequential:
    """34,000 weights; sees 71 pixels each way."""

    def layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU()]

    return nn.Sequential(
        *layer(1, 8, 2), *layer(8, 20, 2), *layer(20, 32, 2), *layer(32, 40, 1), *layer(40, 40, 1), nn.Conv2d(40, 1, 1)
    )


def main() -> None:
    """Make examples, train, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("embryos", type=Path)
    parser.add_argument("fonts", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=16_000)
    parser.add_argument("--steps", type=int, default=6_000)
    given = parser.parse_args()
    embryos = sorted(path for path in given.embryos.rglob("*") if is_image_name(path.name))
    fonts = sorted(path for folder in given.fonts for kind in ("*.ttf", "*.woff") for path in folder.rglob(kind))
    print(f"{len(embryos)} drawn embryos, {len(fonts)} fonts")
    made = [
        (image.astype(np.float16), target)
        for image, target in (example(embryos, fonts, seed) for seed in range(given.examples))
    ]
    images = torch.from_numpy(np.stack([image for image, _ in made]))[:, None]
    targets = torch.from_numpy(np.stack([target for _, target in made])).float()
    torch.manual_seed(0)
    net = network()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, given.steps)
    held = len(made) // 20
    for step in range(given.steps):
        rows = torch.randint(held, len(made), (32,))
        logits, wanted = net(images[rows].float())[:, 0], targets[rows]
        loss = functional.binary_cross_entropy_with_logits(logits, wanted.clamp(min=0), weight=(wanted >= 0).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
        if step % 250 == 249:
            with torch.no_grad():
                logits, wanted = net(images[:held].float())[:, 0], targets[:held]
            hit = (logits[wanted == 1] > 0).float().mean()
            false = (logits[wanted == 0] > 0).float().mean()
            print(f"step {step + 1}: loss {loss:.4f}, cells of text found {hit:.3f}, false {false:.5f}", flush=True)
    layers = [module for module in net if isinstance(module, nn.Conv2d)]
    arrays = {}
    for number, module in enumerate(layers):
        arrays[f"weight{number}"] = module.weight.detach().numpy().astype(np.float16)
        arrays[f"bias{number}"] = module.bias.detach().numpy().astype(np.float32)
        arrays[f"stride{number}"] = np.array(module.stride[0])
    np.savez(given.out, **arrays)


if __name__ == "__main__":
    main()
