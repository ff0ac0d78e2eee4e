"""The evaluation in a `model.json` or a round's record: what clinics released on their own, and what several together."""

from typing import Any

from embryofl.metrics import ScoreSums

TOGETHER = ""
"""In place of a clinic's name: the sum over the clinics that release their metrics only under masks."""


def evaluation_of(record: dict[str, Any]) -> dict[str, Any]:
    """A round's record in the form of a `model.json`: the evaluation of the model of the round before."""
    return {"evaluation": record.get("clinics", {}), "pooled": record.get("pooled", {})}


def own_sums(record: dict[str, Any], split: str) -> dict[str, ScoreSums]:
    """The sums that clinics released on their own, by name in order."""
    evaluation = record["evaluation"]
    return {n: ScoreSums.from_dict(evaluation[n][split]) for n in sorted(evaluation) if evaluation[n].get(split)}


def released_sums(record: dict[str, Any], split: str) -> dict[str, ScoreSums]:
    """The same, and with them that of the clinics summed under masks, if there is one: as `TOGETHER`."""
    together = record["pooled"].get(split)
    return own_sums(record, split) | ({TOGETHER: ScoreSums.from_dict(together)} if together else {})


def evaluated_clinics(record: dict[str, Any], split: str) -> set[str]:
    """The clinics whose embryos are in `released_sums`."""
    together = record["pooled"].get("clinics", ()) if record["pooled"].get(split) else ()
    return {*own_sums(record, split), *together}
