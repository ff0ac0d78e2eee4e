"""The hub's side of an attempt until its sum is closed: adverts, letters, masked vectors. Then see `unmasking`."""

from collections.abc import Collection, Mapping

import numpy as np

from embryofl.errors import ProtocolError, TooFewClinicsError
from embryofl.secagg.fixed_point import RING, Ring
from embryofl.secagg.messages import Advert, Letter, Letters, Roster, Statement, Terms, shared_values
from embryofl.secagg.signatures import Keys, check_advert, check_roster
from embryofl.secagg.threshold import MAX_CLINICS, MIN_CLINICS
from embryofl.secagg.unmasking import ClosedSum, ShareCommitments


class HubSession:
    """The hub in one attempt at one round. A step that rejects a clinic's message changes nothing.

    The caller knows who sent what (the transport authenticates clinics), and how long to wait. Not for several threads.

    Parameters
    ----------
    terms : Terms
    keys : mapping of str to str
        The enrolled keys, OpenSSH lines.

    Attributes
    ----------
    masked_sum : ndarray of uint32, (length,)
        Of the vectors so far.
    """

    def __init__(self, terms: Terms, keys: Keys) -> None:
        self._terms, self._keys = terms, keys
        self._adverts: dict[str, Advert] = {}
        self._roster: Roster | None = None
        self._digest = ""  # of the roster
        self._drawn: dict[str, int] = {}  # see `Roster`
        self._letters: dict[str, dict[str, Letter]] = {}  # by sender, then recipient
        self._sharers: tuple[str, ...] = ()
        self._in_sum: set[str] = set()
        self._closed: ClosedSum | None = None
        self.masked_sum: Ring = np.zeros(terms.length, RING)

    def take_advert(self, advert: Advert) -> None:
        """Step 1: a clinic's keys; a restarted clinic replaces them.

        Raises
        ------
        ProtocolError
            When the roster is closed or full, the clinic is not known or has not signed, or a key is another clinic's.
        """
        clinic = advert.clinic
        if self._roster is not None:
            raise ProtocolError("the roster is closed, expected the advert before", clinic)
        others = [a for a in self._adverts.values() if a.clinic != clinic]
        if len(others) == MAX_CLINICS:
            raise ProtocolError(f"a clinic more than the {MAX_CLINICS} of a full roster", clinic)
        check_advert(advert, self._terms, self._keys)
        if shared_values([*others, advert]):
            raise ProtocolError(f"{clinic} uses a key or a commitment twice, expected new ones", clinic)
        self._adverts[clinic] = advert

    @property
    def weights(self) -> dict[str, int]:
        """Of the clinics that have sent keys, by name."""
        return {name: self._adverts[name].weight for name in sorted(self._adverts)}

    def of_group(self, names: Collection[str], drawn: Mapping[str, int]) -> "HubSession":
        """The attempt with these clinics alone, as far as they have sent keys. `drawn`: see `Roster`."""
        group = HubSession(self._terms, self._keys)
        group._adverts = {name: advert for name, advert in self._adverts.items() if name in names}
        group._drawn = dict(drawn)
        return group

    def close_roster(self) -> Roster:
        """Step 2: who takes part in this attempt; the same roster at every call.

        Raises
        ------
        TooFewClinicsError
            With adverts of fewer than three clinics.
        """
        if self._roster is None:
            if len(self._adverts) < MIN_CLINICS:
                raise TooFewClinicsError(f"adverts of {len(self._adverts)} clinics, expected at least {MIN_CLINICS}")
            adverts = tuple(self._adverts[name] for name in sorted(self._adverts))
            roster = Roster(terms=self._terms, adverts=adverts, drawn=self._drawn)
            check_roster(roster, self._keys)
            self._roster, self._digest = roster, roster.digest()
        return self._roster

    def take_letters(self, sender: str, letters: Letters) -> None:
        """Step 3: a clinic's letters to all clinics of the roster; the same ones again are accepted.

        Raises
        ------
        ProtocolError
            When the letters were closed, are of another roster, to others than its clinics, or not the first ones again.
        """
        roster = self._known_roster()
        if sender not in roster.names:
            raise ProtocolError(f"letters from {sender}, expected one of {', '.join(roster.names)}", sender)
        if letters.roster != self._digest or {*letters.letters} != {*roster.names}:
            raise ProtocolError(
                f"letters of another roster, or to {', '.join(sorted(letters.letters))}; expected one to each of "
                f"{', '.join(roster.names)}",
                sender,
            )
        if self._letters.get(sender, letters.letters) != letters.letters:
            raise ProtocolError(f"other letters from {sender} than before, expected the same ones", sender)
        if self._sharers and sender not in self._sharers:
            raise ProtocolError(
                "the letters were passed on already: the clinic has dropped out of this attempt", sender
            )
        self._letters[sender] = letters.letters

    def close_letters(self) -> tuple[str, ...]:
        """Step 4: whose letters are passed on; the same clinics at every call. The others have dropped out.

        Raises
        ------
        TooFewClinicsError
            With letters from fewer clinics than the threshold.
        """
        if not self._sharers:
            self._known_roster().check_enough(len(self._letters), "senders of letters")
            self._sharers = tuple(sorted(self._letters))
        return self._sharers

    def letters_for(self, name: str) -> Letters:
        """Step 4: the letters to one of the clinics that sent theirs.

        Raises
        ------
        ProtocolError
            Before they are closed, and for a clinic that sent none.
        """
        if name not in self._sharers:
            raise ProtocolError(
                f"letters to {name} are asked for, expected one of those that were passed on: "
                f"{', '.join(self._sharers) or 'none yet'}",
                name,
            )
        return Letters(roster=self._digest, letters={s: self._letters[s][name] for s in self._sharers})

    def take_masked(self, name: str, vector: Ring) -> None:
        """Step 5: add a clinic's masked vector to the sum. The order of the clinics changes no bit.

        Parameters
        ----------
        name : str
        vector : ndarray of uint32, (length,)
            It is read and not kept.

        Raises
        ------
        ProtocolError
            When the sum is closed or has the clinic's vector, the clinic sent no letters, or it is no such vector.
        """
        if self._closed is not None:
            raise ProtocolError(f"a vector of {name} after the sum was closed, expected it before", name)
        if name not in self._sharers or name in self._in_sum:
            raise ProtocolError(f"a vector of {name}, which sent no letters, or a second one; expected one", name)
        if vector.dtype != RING or vector.shape != self.masked_sum.shape:
            raise ProtocolError(
                f"{vector.dtype} {vector.shape} from {name}, expected uint32 {self.masked_sum.shape}", name
            )
        self.masked_sum += vector
        self._in_sum.add(name)

    def close_sum(self) -> ClosedSum:
        """Step 6: who is in the sum; the same at every call. Its statement is sent once it and `masked_sum` are on disk.

        Raises
        ------
        TooFewClinicsError
            With fewer vectors than the threshold.
        """
        if self._closed is None:
            self._known_roster().check_enough(len(self._in_sum), "masked vectors")
            statement = Statement(roster=self._digest, sharers=self._sharers, survivors=tuple(sorted(self._in_sum)))
            commitments = {sharer: _commitments(self._letters[sharer]) for sharer in self._sharers}
            self._closed = ClosedSum(roster=self._known_roster(), statement=statement, commitments=commitments)
        return self._closed

    def _known_roster(self) -> Roster:
        if self._roster is None:
            raise ProtocolError("a step that needs the roster came before it was closed, expected close_roster first")
        return self._roster


def _commitments(letters: dict[str, Letter]) -> dict[str, ShareCommitments]:
    return {
        recipient: ShareCommitments(self_seed=letter.self_commitment, pair_seed=letter.pair_commitment)
        for recipient, letter in letters.items()
    }
