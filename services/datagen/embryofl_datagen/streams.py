"""Random streams that depend on what is drawn and never on the order of drawing."""

import numpy as np


def stream(seed: int, *path: int) -> np.random.Generator:
    """Generator for one thing, named by numbers such as (clinic, part, embryo)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *path])))
