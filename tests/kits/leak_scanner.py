"""Looks for a clinic's secrets in recorded bytes: image files, pixels, names, and scores of single embryos."""

import base64
import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

WINDOW = 32  # bytes of an image that count as a leak


@dataclass
class Secrets:
    """One clinic's secrets as byte strings to look for, by kind.

    A window of an image or a name is found or not. A single score as a float32 or as four decimals can occur by chance
    in megabytes of weights, so a leak of scores is measured by the share of images whose score is found.
    """

    needles: dict[str, list[bytes]] = field(default_factory=dict)
    weak: dict[str, list[bytes]] = field(default_factory=dict)  # form of the score -> one needle an image

    @classmethod
    def of_folder(cls, root: Path, sizes: tuple[int, ...] = ()) -> "Secrets":
        """Files, decoded pixels (also resized to `sizes`), and the columns of labels.csv."""
        secrets = cls()
        with (root / "labels.csv").open() as file:
            rows = list(csv.DictReader(file))
        names = {r[c] for r in rows for c in ("image", "patient", "embryo")} | {Path(r["image"]).name for r in rows}
        secrets.needles["name"] = [n.encode() for n in sorted(names)]
        files, pixels = [], []
        for row in rows:
            path = root / row["image"]
            data = path.read_bytes()
            files += [data[at : at + WINDOW] for at in range(64, len(data) - WINDOW, len(data) // 5)]
            with Image.open(path) as image:
                for size in (image.size, *((s, s) for s in sizes)):
                    array = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
                    for side in (array.tobytes(), array.transpose(2, 0, 1).tobytes()):
                        pixels += [side[at : at + WINDOW] for at in range(500, len(side) - WINDOW, len(side) // 4)]
        secrets.needles |= {"file": files, "pixels": pixels}
        return secrets

    def add_scores(self, scores: np.ndarray) -> None:
        """Scores of single embryos under one model, float64 (n,)."""
        strong = self.needles.setdefault("score", [])
        strong += [np.float64(s).astype(code).tobytes() for s in scores for code in ("<f8", ">f8")]
        strong += [f"{s:.9f}"[:9].encode() for s in scores]  # 0.1234567
        for form, code in (("float32 little", "<f4"), ("float32 big", ">f4")):
            self.weak.setdefault(form, []).extend(np.float32(s).astype(code).tobytes() for s in scores)
        self.weak.setdefault("four decimals", []).extend(f"{s:.4f}".encode() for s in scores)
        self.weak.setdefault("four decimals cut", []).extend(f"{s:.9f}"[:6].encode() for s in scores)

    def found_in(self, data: bytes) -> dict[str, float]:
        """Kinds of secrets in `data`, with the share of their needles that was found; empty if there are none."""
        forms = {needle: _forms(needle) for needles in self.needles.values() for needle in needles}
        strong = _present(data, 8, {form for its in forms.values() for form in its})
        binary = [n for form, needles in self.weak.items() if "decimals" not in form for n in needles]
        weak = _present(data, 4, set(binary)) | set(re.findall(rb"(?=(0\.\d{4}))", data))
        shares = {}
        for kind, needles in self.needles.items():
            share = float(np.mean([any(f in strong and f in data for f in forms[n]) for n in needles]))
            if share:
                shares[kind] = share
        for form, needles in self.weak.items():
            share = float(np.mean([n in weak for n in needles]))
            if share > 0.25:
                shares[f"score as {form}"] = share
        return shares


def _present(data: bytes, size: int, needles: set[bytes]) -> set[bytes]:
    """Those needles whose first `size` bytes are in `data`: one pass over the data, whatever the number of needles."""
    table = np.zeros(1 << 24, bool)
    for needle in needles:
        table[int.from_bytes(needle[:3], "little")] = True
    octets = np.frombuffer(data, np.uint8)
    heads = set()
    for start in range(0, len(data), 1 << 22):
        block = octets[start : start + (1 << 22) + size - 1]
        if len(block) < size:
            break
        three = block[:-2] | block[1:-1].astype(np.uint32) << 8 | block[2:].astype(np.uint32) << 16
        at = np.flatnonzero(table[three[: len(block) - size + 1]])
        heads |= {data[p : p + size] for p in (at + start).tolist()}
    return {needle for needle in needles if needle[:size] in heads}


def _forms(needle: bytes) -> list[bytes]:
    """The needle as it is, in hexadecimal, and inside base64 at each of the three alignments."""
    forms = [needle, needle.hex().encode()]
    for before in range(3):  # bytes before the needle, modulo three
        start, end = -(-before * 8 // 6), (before + len(needle)) * 8 // 6  # characters of the needle alone
        middle = base64.b64encode(bytes(before) + needle)[start:end]
        forms += [middle, middle.replace(b"+", b"-").replace(b"/", b"_")]
    return forms
