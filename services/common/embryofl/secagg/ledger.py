"""Which sums a clinic has confirmed: it must not forget them, not even when it is restarted."""

from collections.abc import Callable, Iterable

from pydantic import Field

from embryofl.errors import ProtocolError
from embryofl.schema import Name, Sha256
from embryofl.secagg.messages import Message
from embryofl.secagg.threshold import MAX_CLINICS


class Confirmation(Message):
    """A sum that this clinic has confirmed: on which terms (`Terms.digest`), over which clinics, and with which vector of
    its own (SHA-256)."""

    run: Name
    round: int
    kind: str
    terms: Sha256
    survivors: tuple[Name, ...] = Field(max_length=MAX_CLINICS)
    vector: Sha256


class Ledger:
    """All confirmations of a clinic. The difference of two sums that differ by one clinic is that clinic's vector. A round
    therefore has one sum for each kind of request, in however many attempts, and a vector has one, in whatever round.

    Parameters
    ----------
    keep : callable
        Given each new confirmation before anything is signed; it writes the confirmation to disk.
    earlier : iterable of Confirmation
        What `keep` was given before.
    """

    def __init__(self, keep: Callable[[Confirmation], object], earlier: Iterable[Confirmation] = ()) -> None:
        self._keep = keep
        self._by_round: dict[tuple[str, int, str], Confirmation] = {}
        self._by_vector: dict[str, Confirmation] = {}
        for confirmation in earlier:
            self._add(confirmation)

    def confirm(self, confirmation: Confirmation) -> None:
        """Add a confirmation; the same one again is not kept twice.

        Raises
        ------
        ProtocolError
            When another sum was confirmed for this round, or for this vector.
        """
        before = self._by_round.get(_round_of(confirmation))
        if before == confirmation:
            return
        if before is not None:
            difference = _difference(before, confirmation)
            raise ProtocolError(
                f"round {confirmation.round} of {confirmation.run} was confirmed before with {difference} (then "
                f"{', '.join(before.survivors)}; now {', '.join(confirmation.survivors)}); expected the same sum, because "
                "the difference of two sums can be one clinic's update"
            )
        before = self._by_vector.get(confirmation.vector)
        if before is not None and before.survivors != confirmation.survivors:
            raise ProtocolError(
                f"the same vector was confirmed before, in round {before.round} of {before.run} (with "
                f"{', '.join(before.survivors)}; now {', '.join(confirmation.survivors)}); expected a new one or the same "
                "clinics, because the difference of two sums can be one clinic's update"
            )
        self._keep(confirmation)
        self._add(confirmation)

    def _add(self, confirmation: Confirmation) -> None:
        self._by_round[_round_of(confirmation)] = confirmation
        self._by_vector.setdefault(confirmation.vector, confirmation)


def _difference(before: Confirmation, now: Confirmation) -> str:
    if before.survivors != now.survivors:
        return "other clinics"
    return "other terms" if before.terms != now.terms else "another vector"


def _round_of(confirmation: Confirmation) -> tuple[str, int, str]:
    return confirmation.run, confirmation.round, confirmation.kind
