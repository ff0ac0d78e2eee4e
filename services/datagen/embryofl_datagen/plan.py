"""A clinic before it is drawn: whose embryos, which labels, what is written down about them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embryofl.errors import UserError

from . import __version__
from .cohort import Embryo, Morphology, draw_embryos
from .profiles import ClinicProfile, clinic_profile
from .streams import stream
from .viability import HIGHEST_AUC, LOWEST_AUC, SimulatedLabels, auroc, draw_outcomes, expected_auroc

# Raised whenever the same settings give other bytes.
FORMAT = 1
SMALLEST_SIDE, LARGEST_SIDE = 64, 1024
FEWEST_IMAGES, MOST_IMAGES = 20, 100_000
MOST_CLINICS = 999
HEADER = ("image", "label", "patient", "embryo", "day", "expansion", "icm", "te")


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of a clinic's folder, together with the clinic's number."""

    images: int
    size: int
    seed: int
    best_auc: float

    def check(self) -> None:
        """Raise `UserError` for values that cannot be drawn."""
        _within("--images", self.images, FEWEST_IMAGES, MOST_IMAGES, "the number of images of each clinic")
        _within("--size", self.size, SMALLEST_SIDE, LARGEST_SIDE, "the side of a picture in pixels")
        _within("--seed", self.seed, 0, 2**63 - 1, "a whole number")
        _within("--best-auc", self.best_auc, LOWEST_AUC, HIGHEST_AUC, "the best possible AUROC")


def _within(name: str, value: float, low: float, high: float, meaning: str) -> None:
    if not low <= value <= high:
        raise UserError(
            f"{name} is {value:g}, but {meaning} must lie between {low:g} and {high:g}. Choose such a value."
        )


def check_clinics(clinics: int, only: int | None) -> None:
    """Raise `UserError` for an impossible number of clinics or choice of one."""
    _within("--clinics", clinics, 1, MOST_CLINICS, "the number of clinics")
    if only is not None and not 1 <= only <= clinics:
        raise UserError(
            f"--only is {only}, but there are clinics 1 to {clinics}. Choose one of them or raise --clinics."
        )


@dataclass(frozen=True)
class ClinicPlan:
    """Everything about one clinic but its pixels."""

    clinic: int
    settings: Settings
    profile: ClinicProfile
    embryos: tuple[Embryo, ...]
    outcome: SimulatedLabels

    def picture_stream(self, index: int) -> np.random.Generator:
        """Random numbers of one picture, independent of all others."""
        return stream(self.settings.seed, self.clinic, 4, index)

    def file(self, index: int) -> str:
        """Path of a picture relative to the clinic's folder."""
        return f"images/E{index + 1:06d}.jpg"

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of labels.csv in the order of `HEADER`."""
        rng = stream(self.settings.seed, self.clinic, 3)
        rows: list[tuple[str, ...]] = []
        for embryo, label in zip(self.embryos, self.outcome.label, strict=True):
            grades = recorded_grades(embryo.morphology, self.profile, rng)
            day = str(embryo.morphology.day)
            rows.append((self.file(embryo.index), str(label), embryo.patient, embryo.embryo, day, *grades))
        return rows

    def summary(self) -> dict[str, Any]:
        """Content of datagen.json."""
        return {
            "format": FORMAT,
            "generator": f"embryofl-datagen {__version__}",
            "parameters": parameters(self.clinic, self.settings),
            "profile": self.profile.model_dump(),
            "embryos": {
                "all": len(self.embryos),
                "viable": int(self.outcome.label.sum()),
                "day3": sum(e.morphology.day == 3 for e in self.embryos),
                "day5": sum(e.morphology.day == 5 for e in self.embryos),
                "patients": len({e.patient for e in self.embryos}),
            },
            "best_possible_auroc": {
                "meaning": "AUROC of the true probability of viability against the labels; no model can do better "
                "except by chance. 'expected' is its value over many draws of the labels, 'drawn' its value for the "
                "labels in labels.csv.",
                **{name: self._best(day) for name, day in (("all", None), ("day3", 3), ("day5", 5))},
            },
        }

    def _best(self, day: int | None) -> dict[str, float | None]:
        chosen = np.array([day in (None, e.morphology.day) for e in self.embryos])
        if not chosen.any():
            return {"expected": None, "drawn": None}
        probability, label = self.outcome.probability[chosen], self.outcome.label[chosen]
        return {
            "expected": _rounded(expected_auroc(probability, probability)),
            "drawn": _rounded(auroc(probability, label)),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def parameters(clinic: int, settings: Settings) -> dict[str, int | float]:
    """What a finished folder must have been made with to be taken for the same."""
    return {
        "clinic": clinic,
        "images": settings.images,
        "size": settings.size,
        "seed": settings.seed,
        "best_auc": settings.best_auc,
    }


def recorded_grades(morphology: Morphology, profile: ClinicProfile, rng: np.random.Generator) -> tuple[str, str, str]:
    """Expansion, ICM and TE grade as this clinic's embryologist writes them down; empty on day 3."""
    eye = profile.grading_noise * rng.standard_normal(3) - profile.strictness
    if morphology.day == 3:
        return "", "", ""
    expansion = int(np.clip(np.floor(morphology.expansion + eye[0]), 1, 6))
    letters = [
        "CBA"[int(np.clip(np.floor(3 * quality + shift), 0, 2))]
        for quality, shift in ((morphology.icm, eye[1]), (morphology.te, eye[2]))
    ]
    return str(expansion), letters[0], letters[1]


def plan_clinic(clinic: int, settings: Settings) -> ClinicPlan:
    """Plan one clinic; depends on nothing but its arguments."""
    profile = clinic_profile(settings.seed, clinic)
    embryos = draw_embryos(profile, settings.seed, clinic, settings.images)
    outcome = draw_outcomes(
        [e.morphology for e in embryos], profile.prevalence, settings.best_auc, stream(settings.seed, clinic, 2)
    )
    return ClinicPlan(clinic, settings, profile, tuple(embryos), outcome)
