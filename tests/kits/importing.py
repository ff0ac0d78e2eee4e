"""Made-up sources in published layouts, and an import of them."""

import csv
import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from embryofl_data.importers.plan import Options
from embryofl_data.importers.run import import_source

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def image_bytes(number: int, kind: str = "PNG") -> bytes:
    """A small image that depends on `number`."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (24, 24), dtype=np.uint8)
    Image.fromarray(pixels).convert("L").save(buffer, kind)
    return buffer.getvalue()


def tree(root: Path, files: dict[str, bytes | str | int]) -> Path:
    """Write files: bytes and text as they are, a number as the image of that number."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            content = image_bytes(content, "PNG" if name.lower().endswith("png") else "JPEG")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def fingerprint(root: Path) -> dict[str, tuple[str, int]]:
    """Every file below a folder with its content and time."""
    return {
        str(path.relative_to(root)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@dataclass
class Imported:
    """What an import printed and wrote."""

    out: Path
    lines: list[str]
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    manifest: dict = field(default_factory=dict)

    def label(self, name: str) -> str:
        """Label of the image whose name ends with `name`."""
        return self.row(name)["label"]

    def row(self, name: str) -> dict[str, str]:
        (row,) = [row for image, row in self.rows.items() if image.endswith(name)]
        return row

    def skipped(self, name: str) -> str:
        """Why a file was skipped."""
        items = self.manifest["left_out"]
        exact = [item for item in items if item["source"] == name]
        (item,) = exact or [item for item in items if item["source"].endswith(name)]
        return f"{item['reason']} {item['detail']}"


def bring_in(source: Path, out: Path, layout: str = "", rule: str = "", **options: object) -> Imported:
    """Import, checking that the source stays as it is and that the manifest explains every label."""
    before = fingerprint(source) if source.is_dir() else hashlib.sha256(source.read_bytes()).hexdigest()
    lines: list[str] = []
    import_source(source, out, layout, rule, Options(**options), False, lines.append)
    assert before == (fingerprint(source) if source.is_dir() else hashlib.sha256(source.read_bytes()).hexdigest())
    with (out / "labels.csv").open(newline="") as handle:
        rows = {row["image"]: row for row in csv.DictReader(handle)}
    manifest = json.loads((out / "import.json").read_text())
    explained = {item["image"]: item for item in manifest["images"]}
    assert explained.keys() == rows.keys()
    for image, row in rows.items():
        item = explained[image]
        assert row["label"] == ("" if item["label"] is None else str(item["label"]))
        assert item["rule"] == f"{manifest['rule']['name']} v{manifest['rule']['version']}" and item["reason"]
        assert hashlib.sha256((out / image).read_bytes()).hexdigest() == item["sha256"]
    return Imported(out, lines, rows, manifest)
