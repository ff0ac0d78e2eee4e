"""What makes one clinic's images and records differ from another's."""

import tomllib
from importlib import resources

import numpy as np
from pydantic import Field

from embryofl.schema import Strict

RGB = tuple[float, float, float]


class Optics(Strict):
    """A clinic's microscope and camera. Lengths are fractions of the image's side.

    Attributes
    ----------
    well : bool
        The embryo lies in the round well of a time-lapse incubator.
    illumination : float
        Grey level of the empty background, 0 to 1.
    direction_deg : float
        Side the oblique light comes from; 0 is from the right, 90 from below.
    relief, outline : float
        Strength of the shading by slope and of the dark and bright lines at edges.
    magnification : float
        Mean outer radius of the zona pellucida.
    blur : float
        Standard deviation of the Gaussian blur.
    sharpening : float
        The camera's unsharp mask, 0 for none.
    noise : float
        Standard deviation of the sensor noise in grey levels of 0 to 1.
    resolution : float
        Side of the sensor's image as a share of the written image's side, 0 to 1.
    background, cytoplasm : RGB
        Colour of the empty medium and of cytoplasm, each with mean 1.
    drift : float
        Strength of the colour gradient across the image.
    fringe : float
        Lateral colour fringes at edges, 0 to 1.
    """

    well: bool
    illumination: float = Field(gt=0, le=1)
    direction_deg: float
    relief: float = Field(gt=0)
    outline: float = Field(gt=0)
    contrast: float = Field(gt=0)
    magnification: float = Field(gt=0, lt=0.5)
    blur: float = Field(ge=0)
    sharpening: float = Field(ge=0)
    noise: float = Field(ge=0)
    resolution: float = Field(gt=0, le=1)
    vignette: float = Field(ge=0)
    background: RGB
    cytoplasm: RGB
    drift: float = Field(ge=0)
    fringe: float = Field(ge=0, le=1)
    jpeg_quality: int = Field(ge=40, le=100)


class ClinicProfile(Strict):
    """One clinic: optics, case mix and recording habits.

    Attributes
    ----------
    prevalence : float
        Share of embryos labelled viable, in expectation.
    day3_share : float
        Share of patients whose embryos are photographed on day 3; the others are on day 5.
    cohort_mean : float
        Mean number of embryos of one patient (2 to 12).
    debris : float
        Amount of debris and corona cells around the embryo, 0 to 1.
    grading_noise : float
        Standard deviation of the embryologist's eye, in grades.
    strictness : float
        Shift of the embryologist's thresholds in grades; above 0 gives worse grades.
    """

    name: str
    microscope: str
    optics: Optics
    prevalence: float = Field(gt=0, lt=1)
    day3_share: float = Field(ge=0, le=1)
    cohort_mean: float = Field(ge=2, le=12)
    debris: float = Field(ge=0, le=1)
    grading_noise: float = Field(ge=0)
    strictness: float


_MICROSCOPES = tomllib.loads(resources.files(__package__).joinpath("microscopes.toml").read_text("utf-8"))[
    "microscopes"
]


def clinic_profile(seed: int, clinic: int) -> ClinicProfile:
    """Profile of clinic number `clinic` (from 1); depends on the seed and the number only."""
    rng = np.random.default_rng([seed, clinic, 0])
    typical = _MICROSCOPES[(clinic - 1) % len(_MICROSCOPES)]
    colour = typical["fringe"] > 0

    def near(value: float, spread: float) -> float:
        return round(float(value * (1 + spread * rng.uniform(-1, 1))), 4)

    def tint(rgb: RGB) -> RGB:
        if not colour:
            return rgb
        shifted = np.array(rgb) + rng.uniform(-0.012, 0.012, 3)
        red, green, blue = (shifted / shifted.mean()).round(4).tolist()
        return red, green, blue

    optics = Optics(
        well=typical["well"],
        illumination=near(typical["illumination"], 0.06),
        direction_deg=round(float(rng.uniform(0, 360)), 1),
        relief=near(typical["relief"], 0.12),
        outline=near(typical["outline"], 0.15),
        contrast=near(1.0, 0.12),
        magnification=near(typical["magnification"], 0.03),
        blur=near(0.0038, 0.25),
        sharpening=near(0.9, 0.5),
        noise=near(0.012, 0.4),
        resolution=round(float(rng.choice([0.75, 0.9, 1.0])), 2),
        vignette=near(0.16, 0.5),
        background=tint(typical["background"]),
        cytoplasm=tint(typical["cytoplasm"]),
        drift=near(0.02, 0.5) if colour else 0.0,
        fringe=typical["fringe"],
        jpeg_quality=int(rng.integers(82, 96)),
    )
    return ClinicProfile(
        name=f"clinic-{clinic}",
        microscope=typical["name"],
        optics=optics,
        prevalence=round(float(rng.uniform(0.34, 0.52)), 3),
        day3_share=round(float(rng.uniform(0.3, 0.6)), 3),
        cohort_mean=round(float(rng.uniform(4.5, 7.5)), 2),
        debris=round(float(rng.uniform(0.2, 0.9)), 3),
        grading_noise=round(float(rng.uniform(0.15, 0.45)), 3),
        strictness=round(float(rng.uniform(-0.35, 0.35)), 3),
    )
