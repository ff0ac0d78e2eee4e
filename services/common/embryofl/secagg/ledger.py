"""Which sums a clinic has confirmed: it must not forget them, not even when it is restarted."""

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from pydantic import Field

from embryofl.errors import ProtocolError
from embryofl.schema import Name, Sha256
from embryofl.secagg.messages import Message
from embryofl.secagg.threshold import MAX_CLINICS


class Confirmation(Message):
    """A sum that this clinic has confirmed.

    Attributes
    ----------
    run : str
    round : int
    kind : str
    terms : str
        `Terms.digest`.
    model, work : str
        Of the terms.
    survivors : tuple of str
    weights : tuple of int
        Of the survivors, in their order.
    update : str
        SHA-256 of this clinic's part, before its share of the weights scaled it.
    drawn : str
        `Roster.draw`.
    """

    run: Name
    round: int
    kind: str
    terms: Sha256
    model: Sha256
    work: Sha256
    survivors: tuple[Name, ...] = Field(max_length=MAX_CLINICS)
    weights: tuple[int, ...] = Field(max_length=MAX_CLINICS)
    update: Sha256
    drawn: Sha256 | Literal[""] = ""


class Confirming(Protocol):
    """A ledger, such as `Ledger`."""

    def confirm(self, confirmation: Confirmation) -> None:
        """Raises `ProtocolError` when another sum was confirmed before that must not have two."""


class Ledger:
    """All confirmations of a clinic. The difference of two sums that differ by one clinic is that clinic's update, and two
    sums of the same updates with other weights have both. A round therefore has one sum of each kind, in however many
    attempts. For each kind, a model has the same clinics, weights and settings in whatever round or run, and so has an
    update; counts of an evaluation need not, as a clinic with few embryos has the same ones, all withheld, in every run.
    The groups of a run are drawn once.

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
        self._by_model: dict[tuple[str, str], Confirmation] = {}
        self._by_update: dict[str, Confirmation] = {}
        self._models: set[tuple[str, str]] = set()
        self._by_run: dict[str, Confirmation] = {}
        for confirmation in earlier:
            self._add(confirmation)

    def of_model(self, kind: str, model: str) -> Confirmation | None:
        """The first sum of this kind, of updates to a model or of its metrics."""
        return self._by_model.get((kind, model))

    def has(self, run: str, model: str) -> bool:
        """Whether a sum of updates to this model was confirmed in this run."""
        return (run, model) in self._models

    def check_draw(self, run: str, drawn: str) -> None:
        """Raise `ProtocolError` when a sum of updates was confirmed in this run over a group of another draw."""
        before = self._by_run.get(run)
        if before is not None and before.drawn != drawn:
            raise ProtocolError(
                f"other groups than in round {before.round} of {run}, expected the same in the whole run, because sums "
                "over other groups of the same clinics can tell one clinic's update"
            )

    def confirm(self, confirmation: Confirmation) -> None:
        """Add a confirmation; the same one again is not kept twice.

        Raises
        ------
        ProtocolError
            When another sum was confirmed for this round; or one of updates to the same model, or of the same update,
            over other clinics, with other weights or settings; or one in this run over a group of another draw.
        """
        before = self._by_round.get(_round_of(confirmation))
        if before == confirmation:
            return
        if before is not None:
            _reject(f"round {confirmation.round} of {confirmation.run} was confirmed before", before, confirmation)
        same_update = self._by_update.get(confirmation.update) if confirmation.kind == "train" else None
        for what, before in (
            ("updates to the same model were", self.of_model(confirmation.kind, confirmation.model)),
            ("the same update was", same_update),
        ):
            if before is not None and _sum_of(before) != _sum_of(confirmation):
                where = f"confirmed before, in round {before.round} of {before.run},"
                _reject(f"{what} {where}", before, confirmation)
        if confirmation.kind == "train":
            self.check_draw(confirmation.run, confirmation.drawn)
        self._keep(confirmation)
        self._add(confirmation)

    def _add(self, confirmation: Confirmation) -> None:
        self._by_round[_round_of(confirmation)] = confirmation
        self._by_model.setdefault((confirmation.kind, confirmation.model), confirmation)
        if confirmation.kind == "train":
            self._by_update.setdefault(confirmation.update, confirmation)
            self._models.add((confirmation.run, confirmation.model))
            self._by_run.setdefault(confirmation.run, confirmation)


def _reject(what: str, before: Confirmation, now: Confirmation) -> None:
    raise ProtocolError(
        f"{what} with {_difference(before, now)} (then {', '.join(before.survivors)}; now {', '.join(now.survivors)}); "
        "expected the same sum, because the difference of two sums can be one clinic's update"
    )


def _difference(before: Confirmation, now: Confirmation) -> str:
    for field, words in (
        ("survivors", "other clinics"),
        ("weights", "other weights"),
        ("work", "other settings"),
        ("terms", "other terms"),
    ):
        if getattr(before, field) != getattr(now, field):
            return words
    return "another update"


def _sum_of(confirmation: Confirmation) -> tuple[object, ...]:
    return confirmation.survivors, confirmation.weights, confirmation.work


def _round_of(confirmation: Confirmation) -> tuple[str, int, str]:
    return confirmation.run, confirmation.round, confirmation.kind
