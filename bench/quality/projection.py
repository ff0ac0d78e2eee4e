"""Learn the public projection of the model `lite0_16` from drawn embryos, and write it beside the model's code; and their
projected features, which are the canaries of runs with `audit_canaries`.

    python bench/quality/projection.py [--out FOLDER]

The features of the frozen network over 930 drawn embryos (data set `synthetic-21`, which no table of the README has): their
mean and first 16 principal axes. No embryo of a patient has a part in it, so that it costs a run with `dp_epsilon` nothing.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for service in ("common", "data", "server", "clinic", "datagen", "demo"):  # they need not be installed
    sys.path.append(str(ROOT / "services" / service))
sys.path.insert(0, str(HERE))

import datasets  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from embryofl.models.drawn import DRAWN, FILE  # noqa: E402
from embryofl.models.lite_models import PROJECTED, PROJECTION  # noqa: E402
from embryofl.settings import run_settings  # noqa: E402
from embryofl_data.split import SPLITS  # noqa: E402
from embryofl_demo.local_run import prepared  # noqa: E402

DATA = "synthetic-21"


def embeddings(data: str, out: Path) -> np.ndarray:
    """The frozen network's features of all images of a prepared synthetic data set, float64 (n, 1280)."""
    settings, parts = run_settings({"model": "lite0_head"}), []
    for folder in datasets.clinics(out / "data" / data).values():
        found = prepared(settings, datasets.load(folder, out / "cache" / data, settings.image_size, 0))
        parts += [examples.pixels[examples.rows] for examples in (getattr(found, split) for split in SPLITS)]
    return np.concatenate(parts).astype(np.float64)


def axes_of(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean, float64 (1280,), and the first principal axes, float64 (count, 1280).

    Half-way to equal variances; the mean square of a projected vector's length is 1, as the bias's input is.
    """
    mean = features.mean(axis=0)
    _, lengths, axes = np.linalg.svd(features - mean, full_matrices=False)
    axes, deviations = axes[:count], lengths[:count] / np.sqrt(len(features))
    axes *= np.sign(axes[np.arange(count), np.abs(axes).argmax(axis=1)])[:, None]
    return mean, axes / np.sqrt(deviations * deviations.sum())[:, None]


def main() -> None:
    """Write the files."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=ROOT / ".embryofl" / "quality")
    out = options.parse_args().out
    torch.set_num_threads(1)
    datasets.prepare(DATA, out / "data" / DATA, Path(), 1)
    features = embeddings(DATA, out)
    mean, axes = axes_of(features, PROJECTED)
    assert len(features) == DRAWN
    projected = (features - mean) @ axes.T
    save_file({"features": projected.astype(np.float32)}, FILE)
    save_file({"mean": mean.astype(np.float32), "axes": axes.astype(np.float32)}, PROJECTION)
    print(f"{PROJECTION}: {PROJECTED} axes from {len(features)} drawn embryos")


if __name__ == "__main__":
    main()
