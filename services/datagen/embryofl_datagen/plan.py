"""A clinic before it is drawn: its patients, embryos, labels and the grades in its table."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embryofl.errors import UserError
from embryofl_data.reading.contract import COLUMNS

from .cohort import Embryo, Floats, Morphology, draw_embryos
from .profiles import ClinicProfile, clinic_profile
from .viability import auroc, draw_outcomes

# Raised whenever the same settings give other bytes.
FORMAT = 1
LIMITS = {
    "clinics": (1, 999),
    "images": (20, 100_000),
    "size": (64, 1024),
    "seed": (0, 2**63 - 1),
    "best_auc": (0.55, 0.98),
}
HEADER = COLUMNS[:8]  # without frame and focal plane


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of a clinic's folder, together with the clinic's number."""

    images: int
    size: int
    seed: int
    best_auc: float

    def check(self, clinics: int, only: int | None = None) -> None:
        """Raise `UserError` for values that cannot be drawn, or for an impossible number of clinics or choice of one."""
        values = {**asdict(self), "clinics": clinics, "only": 1 if only is None else only}
        for name, (low, high) in {**LIMITS, "only": (1, clinics)}.items():
            if not low <= values[name] <= high:
                raise UserError(
                    "S7",
                    f"--{name.replace('_', '-')} is {values[name]:g}. Expected a number between {low:g} and {high:g}.",
                )


@dataclass(frozen=True)
class ClinicPlan:
    """Everything about one clinic but its pixels; `probability` and `label` as in `draw_outcomes`."""

    clinic: int
    settings: Settings
    profile: ClinicProfile
    embryos: tuple[Embryo, ...]
    probability: Floats
    label: NDArray[np.int64]

    def image_stream(self, index: int) -> np.random.Generator:
        """Random numbers of one image, independent of all others."""
        return np.random.default_rng([self.settings.seed, self.clinic, 4, index])

    def file(self, index: int) -> str:
        """Path of an image relative to the clinic's folder."""
        return f"images/E{index + 1:06d}.jpg"

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of labels.csv in the order of `HEADER`."""
        rng = np.random.default_rng([self.settings.seed, self.clinic, 3])
        rows: list[tuple[str, ...]] = []
        for embryo, label in zip(self.embryos, self.label, strict=True):
            grades = recorded_grades(embryo.morphology, self.profile, rng)
            day = str(embryo.morphology.day)
            rows.append((self.file(embryo.index), str(label), embryo.patient, embryo.embryo, day, *grades))
        return rows

    def summary(self) -> dict[str, Any]:
        """Content of datagen.json."""
        return {
            **marks(self.clinic, self.settings),
            "generator": f"embryofl-datagen {version('embryofl-datagen')}",
            "profile": self.profile.model_dump(),
            "embryos": {
                "all": len(self.embryos),
                "viable": int(self.label.sum()),
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
        probability, label = self.probability[chosen], self.label[chosen]
        scores = {"expected": auroc(probability, probability), "drawn": auroc(probability, label)}
        return {name: None if score is None else round(score, 6) for name, score in scores.items()}


def marks(clinic: int, settings: Settings) -> dict[str, Any]:
    """What two folders' summaries must have in common to hold the same bytes."""
    return {"format": FORMAT, "parameters": {"clinic": clinic, **asdict(settings)}}


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
    rng = np.random.default_rng([settings.seed, clinic, 2])
    outcomes = draw_outcomes([e.morphology for e in embryos], profile.prevalence, settings.best_auc, rng)
    return ClinicPlan(clinic, settings, profile, tuple(embryos), *outcomes)
