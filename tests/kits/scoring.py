"""Drawn embryos and a finished run's model for tests of scoring."""

import hashlib
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from embryofl import packing
from embryofl.models.zoo import create_model

TABLE = [{"from": a / 4, "to": (a + 1) / 4, "embryos": 40, "good": 10 * a + 5} for a in range(4)]
CALIBRATION = {"temperature": 2.0, "intercept": 0.5, "threshold": 0.4, "learned_on": "validation", "table": TABLE}


def draw_embryo(seed: int, side: int = 96) -> bytes:
    """A PNG with a grainy disc; its brightness depends on the seed."""
    random = np.random.default_rng(seed)
    image = Image.new("L", (side, side), 160)
    pen = ImageDraw.Draw(image)
    pen.ellipse(
        [side * 0.18, side * 0.18, side * 0.82, side * 0.82], fill=int(90 + 10 * seed % 80), outline=60, width=3
    )
    pixels = np.asarray(image, np.int16) + random.integers(-12, 13, (side, side), dtype=np.int16)
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB").save(out, "PNG")
    return out.getvalue()


def png(width: int, height: int) -> bytes:
    """Chunks of a PNG that claims a size but has next to no data: a decompression bomb behind the signature."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")


def finished_model(folder: Path, seed: int = 1, model: str = "small_cnn", **card: object) -> Path:
    """`model.safetensors` and `model.json` as a run leaves them; returns the former."""
    folder.mkdir(parents=True)
    packed = packing.pack(create_model(model, seed=seed).state_dict())
    (folder / "model.safetensors").write_bytes(packed)
    metadata = {
        "run": "run-0001",
        "round": 4,
        "sha256": hashlib.sha256(packed).hexdigest(),
        "calibration": CALIBRATION,
        "settings": {"model": model, "image_size": 64, "meaning": "quality", "rounds": 4},
        "use": "Research use only",
    } | card
    (folder / "model.json").write_text(json.dumps(metadata))
    return folder / "model.safetensors"
