"""What a run will cost in traffic and time, before it is started.

Traffic follows from the model's size. Time follows from an earlier run of the same model, if there is one; otherwise it is
a rough estimate from the clinics' image counts and the time that one image takes on one processor core.
"""

from collections.abc import Sequence
from typing import Any

from embryofl.models import FACTS, recipe
from embryofl.settings import RunSettings
from embryofl_server.runs.view import RunView

TRAINING_SHARE = 0.6
"""Share of a clinic's labelled images that is trained on: validation and test patients have a fifth or more each."""


def estimate(settings: RunSettings, clinics: dict[str, int | None], earlier: Sequence[RunView]) -> dict[str, Any]:
    """Traffic and time of a run.

    Parameters
    ----------
    settings : RunSettings
    clinics : dict of str to int or None
        Labelled images of the clinics that would take part; None if not reported.
    earlier : sequence of RunView
        The hub's runs, oldest first.

    Returns
    -------
    dict
        `clinics`, `model_bytes`, `clinic_bytes` (to and from one clinic), `total_bytes` (through the hub); `round_s` and
        `total_s` (None: unknown); `from`: "run" with its name, rounds and whether epochs or image size differ, "images"
        with the largest count and the seconds for one image, or "nothing".
    """
    count = max(len(clinics), settings.min_clinics)
    size, source = _size(settings, earlier)
    down = size * (2 if settings.control else 1)
    one = settings.rounds * (down + size) + size * (settings.closing_evaluation + len(settings.pooled_rounds))
    cost: dict[str, Any] = {
        "clinics": count,
        "model_bytes": size,
        "clinic_bytes": one,
        "total_bytes": one * count,
        "size_from": source,
        "rounds": settings.rounds,
        "round_s": None,
        "total_s": None,
        "from": "nothing",
    }
    for run in reversed(earlier):
        before = run.settings
        pace = run.pace() if before.model == settings.model else None
        if pace is not None:
            more = settings.local_epochs / before.local_epochs * (settings.image_size / before.image_size) ** 2
            round_s = max(0.0, pace.round_s - pace.training_s) + pace.training_s * more
            return cost | {
                "from": "run",
                "run": run.name,
                "run_rounds": pace.rounds,
                "scaled": abs(more - 1) > 1e-9,
                "round_s": round_s,
                "total_s": round_s * settings.rounds,
            }
    images = max((n for n in clinics.values() if n), default=0)
    facts = FACTS.get(settings.model)
    if not images or facts is None or not facts.image_s:
        return cost
    image_s = facts.image_s * (settings.image_size / recipe(settings.model)["image_size"]) ** 2
    round_s = images * TRAINING_SHARE * settings.local_epochs * image_s
    return cost | {
        "from": "images",
        "images": images,
        "image_s": image_s,
        "round_s": round_s,
        "total_s": round_s * settings.rounds,
    }


def _size(settings: RunSettings, earlier: Sequence[RunView]) -> tuple[int, str]:
    """Bytes of the packed model, and the run they are known from ("": from the model's name)."""
    for run in reversed(earlier):
        before = run.settings
        if (before.model, before.grades > 0) == (settings.model, settings.grades > 0) and run.model_bytes:
            return run.model_bytes, run.name
    facts = FACTS.get(settings.model)
    return (facts.size if facts else 0), ""
