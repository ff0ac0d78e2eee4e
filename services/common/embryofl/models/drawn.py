"""Features of drawn embryos in the model `lite0_16`: nobody's, and the same for everybody."""

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

FILE = Path(__file__).with_name("lite0_16_drawn.safetensors")
"""`bench/quality/projection.py` has made it, with the projection."""
DRAWN = 930


@cache
def drawn_features() -> npt.NDArray[np.float32]:
    """What the model's head gets of each drawn embryo: float32 (`DRAWN`, 16)."""
    features: npt.NDArray[np.float32] = load_file(FILE)["features"]
    return features
