"""Patients, their cohorts, and the morphology of every embryo, before anything is drawn."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .profiles import ClinicProfile

SMALLEST_COHORT, LARGEST_COHORT = 2, 12
# Share of the variance of embryo quality that a patient's embryos have in common.
PATIENT_SHARE = 0.35

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Morphology:
    """What a perfect observer would read off the embryo; the label depends on nothing else.

    Attributes
    ----------
    day : int
        3 (cleavage stage) or 5 (blastocyst).
    cells : int
        Day 3: number of blastomeres, 3 to 10.
    asymmetry : float
        Day 3: coefficient of variation of the blastomeres' radii.
    fragmentation : float
        Day 3: share of the volume in fragments, 0 to 0.5.
    expansion : float
        Day 5: 1 to 7; the whole part is Gardner's expansion grade (1 to 6).
    icm, te : float
        Day 5: quality of inner cell mass and trophectoderm, 0 (C) to 1 (A).
    darkness : float
        Dark and coarse granular cytoplasm, 0 to 1.
    """

    day: int
    cells: int
    asymmetry: float
    fragmentation: float
    expansion: float
    icm: float
    te: float
    darkness: float


@dataclass(frozen=True)
class Embryo:
    """One embryo and whose it is; `index` counts from 0 within the clinic."""

    index: int
    patient: str
    embryo: str
    morphology: Morphology


def _normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def draw_morphology(rng: np.random.Generator, day: int, quality: float) -> Morphology:
    """Morphology of an embryo of the given latent quality (standard normal in the population)."""
    noises = rng.standard_normal(4)

    def share(noise: float, weight: float) -> float:
        """A value in 0...1, uniform in the population, that rises with quality."""
        return _normal_cdf(weight * quality + math.sqrt(1 - weight**2) * noise)

    first, second, third = (share(noise, 0.86) for noise in noises[:3])
    darkness = 1 - share(noises[3], 0.8)
    if day == 3:
        cells = int(np.clip(round(3.3 + 5.6 * second + rng.uniform(-0.6, 0.6)), 3, 10))
        return Morphology(3, cells, 0.02 + 0.30 * (1 - third), 0.5 * (1 - first) ** 1.6, 0.0, 0.0, 0.0, darkness)
    expansion = 1.0 + 5.6 * first**1.1
    return Morphology(5, 0, 0.0, 0.0, expansion, second, third, darkness)


def cohort_sizes(rng: np.random.Generator, embryos: int, mean: float) -> list[int]:
    """Sizes from 2 to 12 that add up to `embryos`."""
    sizes: list[int] = []
    left = embryos
    while left > LARGEST_COHORT:
        size = int(np.clip(rng.poisson(mean - 2) + 2, SMALLEST_COHORT, min(LARGEST_COHORT, left - SMALLEST_COHORT)))
        sizes.append(size)
        left -= size
    return [*sizes, left]


def draw_embryos(profile: ClinicProfile, seed: int, clinic: int, embryos: int) -> list[Embryo]:
    """All embryos of a clinic, patient by patient.

    The days alternate so that the share of day-3 patients is met as closely as the number of patients allows.
    """
    rng = np.random.default_rng([seed, clinic, 1])
    sizes = cohort_sizes(rng, embryos, profile.cohort_mean)
    drawn: list[Embryo] = []
    due = float(rng.uniform())  # share of a day-3 patient that is due
    for number, size in enumerate(sizes, start=1):
        due += profile.day3_share
        day = 3 if due >= 1 else 5
        due -= due >= 1
        common = rng.standard_normal()
        patient = f"C{clinic:02d}-P{number:04d}"
        for letter in range(size):
            quality = math.sqrt(PATIENT_SHARE) * common + math.sqrt(1 - PATIENT_SHARE) * rng.standard_normal()
            morphology = draw_morphology(rng, day, float(quality))
            drawn.append(Embryo(len(drawn), patient, f"{patient}-E{letter + 1:02d}", morphology))
    return drawn
