"""Folders that the tests draw: tiny images, each with different content."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeClinic = Callable[..., Path]


def draw(path: Path, number: int, size: tuple[int, int] = (16, 16)) -> Path:
    """Write an RGB image whose content depends on `number`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(name="draw")
def _draw() -> Callable[..., Path]:
    return draw


@pytest.fixture
def make_clinic(tmp_path: Path) -> MakeClinic:
    """Make a folder in the data contract: `patients` patients with `cohort` images each, labels alternating."""

    def make(patients: int = 20, cohort: int = 3, name: str = "clinic", label: str | None = None) -> Path:
        root = tmp_path / name
        lines = ["image,label,patient,embryo,day"]
        for number in range(patients * cohort):
            draw(root / f"images/{number:03}.png", number)
            given = str(number % 2) if label is None else label
            lines.append(f"images/{number:03}.png,{given},p{number // cohort},e{number},{3 + 2 * (number % 4 // 2)}")
        (root / "labels.csv").write_text("\n".join(lines) + "\n")
        return root

    return make
