"""Clinics' votes on the newest model: with alarms of half of them, the model before it is taken again.

An alarm leaves a clinic under the masks of the next round, so nobody votes on the last round's model. What a clinic
compares, and what its alarms can tell of its embryos: `embryofl_clinic.masking.alarms`.
"""

import logging
from dataclasses import dataclass
from typing import Any

from embryofl_server.federation.checkpoint import Checkpoints

log = logging.getLogger("embryofl.rounds")


@dataclass(frozen=True)
class VotedDown:
    """A model that clinics have voted down.

    Attributes
    ----------
    finding : str
    back_to : int
        The round whose model is taken again.
    clinics : tuple of str
        Those whose updates to that model were summed: they confirm no sum over others.
    """

    finding: str
    back_to: int
    clinics: tuple[str, ...]

    @property
    def followed(self) -> str:
        """What is said when the model before is taken again."""
        return f"{self.finding} The model of round {self.back_to} is used again."

    def not_followed(self, absent: str) -> str:
        """What is said when it is not, because these clinics take part no longer: nobody could train from it."""
        return (
            f"{self.finding} It stays: updates to the model of round {self.back_to} were summed with {absent}, and the "
            "other clinics confirm no sum of fewer from the same model."
        )


def vote(number: int, alarms: int, clinics: int, checkpoints: Checkpoints) -> VotedDown | None:
    """What the alarms in round `number` mean; None if the model stays.

    Parameters
    ----------
    number : int
    alarms, clinics : int
        Of the round's sum. Clinics that cannot vote count, too.
    checkpoints : Checkpoints
    """
    made = _made_in(number, checkpoints) if 2 * alarms >= clinics else None
    if made is None:
        return None
    bad = int(made["round"])
    before = checkpoints.at(bad - 1)
    if before is None or ("state" in before.record and not before.state_file.exists()):
        log.warning(
            "round %d: %d of %d clinics find the model worse than that of round %d, which is no longer kept. Raise "
            "EMBRYOFL_KEEP_CHECKPOINTS",
            number,
            alarms,
            clinics,
            bad - 1,
        )
        return None
    return VotedDown(
        f"{alarms} of {clinics} clinics find the model of round {bad} worse than that of round {bad - 1} on their "
        "validation patients.",
        bad - 1,
        tuple(made["masking"]["survivors"]),
    )


def _made_in(number: int, checkpoints: Checkpoints) -> dict[str, Any] | None:
    """The record of the round that made the model with which round `number` begins; None for the initial model, and for one
    that a vote has brought back."""
    for earlier in range(number - 1, 0, -1):
        checkpoint = checkpoints.at(earlier)
        if checkpoint is None or "back_to" in checkpoint.record:
            return None
        if not checkpoint.record.get("void"):
            return checkpoint.record
    return None
