"""The hub's side of an attempt after its sum is closed: confirmations, shares, and the sum without masks.

All that it begins with is on disk, so that a hub that was restarted does the same as one that was not.
"""

from collections.abc import Callable

from pydantic import Field

from embryofl.clinic_keys import signed_by
from embryofl.errors import ProtocolError
from embryofl.schema import Name, Sha256
from embryofl.secagg.fixed_point import RING, Ring
from embryofl.secagg.key_agreement import key_from_seed, pair_mask_key, public_text, seed_commitment, self_mask_key
from embryofl.secagg.masks import Mask, apply_masks, pair_sign
from embryofl.secagg.messages import Message, Roster, SeedName, Shares, Statement
from embryofl.secagg.shares import rebuild, share_commitment
from embryofl.secagg.signatures import Keys, check_roster
from embryofl.secagg.threshold import MAX_CLINICS


class ShareCommitments(Message):
    """A clinic's commitments to the two shares that it gave to another one."""

    self_seed: Sha256
    pair_seed: Sha256


class ClosedSum(Message):
    """All that the hub keeps besides the masked sum: the roster, who is in it, and commitments by owner and holder."""

    roster: Roster
    statement: Statement
    commitments: dict[Name, dict[Name, ShareCommitments]] = Field(max_length=MAX_CLINICS)


class Unmasking:
    """Steps 7 to 9 at the hub. A step that rejects a clinic's message changes nothing.

    Parameters
    ----------
    closed : ClosedSum
        From `HubSession.close_sum`, or from disk.
    masked_sum : ndarray of uint32, (length,)
        Taken over, and changed by `total`: the hub holds one vector.
    keys : mapping of str to str
        The enrolled keys, OpenSSH lines.

    Raises
    ------
    ProtocolError
        When the parts do not fit together, or an enrolled key is another one than signed the roster.
    TooFewClinicsError
        With fewer survivors than the threshold.
    """

    def __init__(self, closed: ClosedSum, masked_sum: Ring, keys: Keys) -> None:
        roster, statement, names = closed.roster, closed.statement, {*closed.roster.names}
        check_roster(roster, keys)
        if (
            statement.roster != roster.digest()
            or not {*statement.sharers} <= names
            or {*closed.commitments} != {*statement.sharers}
            or any({*by_holder} != names for by_holder in closed.commitments.values())
        ):
            raise ProtocolError("a roster, a statement and commitments that do not fit, expected those of one attempt")
        if masked_sum.dtype != RING or masked_sum.shape != (roster.terms.length,):
            raise ProtocolError(
                f"a sum of {masked_sum.dtype} {masked_sum.shape}, expected uint32 ({roster.terms.length},)"
            )
        self._roster, self._commitments, self._sum, self._keys = roster, closed.commitments, masked_sum, keys
        self._digest = statement.roster
        roster.check_enough(len(statement.survivors), "survivors")
        self._signatures: dict[str, str] = {}
        self._revealed: dict[str, dict[str, bytes]] = {}  # by holder, then owner
        self._unmasked = False
        self.statement = statement  # step 6: what the clinics are sent

    def take_confirmation(self, name: str, signature: str) -> None:
        """Step 7: a survivor's signature of the statement.

        Raises
        ------
        ProtocolError
            When the clinic is no survivor, or the signature is not valid.
        """
        if name not in self.statement.survivors or not signed_by(self._keys[name], signature, self.statement.text()):
            raise ProtocolError(f"a confirmation from {name} that is not valid, expected one of a survivor", name)
        self._signatures[name] = signature

    def confirmations(self) -> dict[str, str]:
        """Step 8: the signatures by clinic, for the clinics to check.

        Raises
        ------
        TooFewClinicsError
            With fewer than the threshold.
        """
        self._roster.check_enough(len(self._signatures), "confirmations")
        return dict(self._signatures)

    def take_shares(self, name: str, shares: Shares) -> None:
        """Step 8: a survivor's shares, each compared with its owner's commitment.

        Raises
        ------
        ProtocolError
            When the clinic is no survivor, or its shares are of another roster, of other clinics or seeds than asked for,
            or not those that it was given.
        """
        statement = self.statement
        if name not in statement.survivors:
            raise ProtocolError(f"shares from {name}, expected one of {', '.join(statement.survivors)}", name)
        expected = [(sharer, self._seed_of(sharer)) for sharer in statement.sharers]
        if shares.roster != self._digest or [(s.clinic, s.seed) for s in shares.shares] != expected:
            raise ProtocolError(f"shares from {name} of another attempt, or of other seeds than expected", name)
        revealed = {s.clinic: bytes.fromhex(s.value) for s in shares.shares}
        for owner, seed in expected:
            committed = self._commitments[owner][name]
            if share_commitment(self._digest, owner, name, seed, revealed[owner]) != (
                committed.self_seed if seed == "self" else committed.pair_seed
            ):
                raise ProtocolError(
                    f"a share from {name} that is not the one that {owner} gave it, expected that one", name
                )
        self._revealed[name] = revealed

    def total(self) -> Ring:
        """Step 9: the sum of the survivors' vectors, uint32 (length,); unmasked in place, so that the hub holds one vector.

        Raises
        ------
        TooFewClinicsError
            With shares of fewer clinics than the threshold.
        ProtocolError
            When a clinic's shares rebuild another seed than it has signed: it gave out wrong ones (`clinic`).
        """
        self._roster.check_enough(len(self._revealed), "clinics' shares")
        if not self._unmasked:
            masks = []
            for name in self.statement.sharers:
                advert = self._roster.advert_of(name)
                if self._seed_of(name) == "self":
                    seed = self._rebuilt(name, seed_commitment, advert.commitment)
                    masks.append(Mask(self_mask_key(seed, self._digest, name), -1))
                else:
                    seed = self._rebuilt(name, lambda s: public_text(key_from_seed(s)), advert.mask_key)
                    masks += self._left_masks(name, seed)
            apply_masks(self._sum, masks)
            self._unmasked = True
        return self._sum

    def _left_masks(self, name: str, seed: bytes) -> list[Mask]:
        """The masks that survivors share with a clinic that has dropped out, to be taken out."""
        roster, key = self._roster, key_from_seed(seed)
        return [
            Mask(pair_mask_key(key, roster.advert_of(peer).mask_key, self._digest, name, peer), -pair_sign(peer, name))
            for peer in self.statement.survivors
        ]

    def _rebuilt(self, owner: str, signed_form: Callable[[bytes], str], expected: str) -> bytes:
        """A clinic's seed from the first shares of it, compared with what the clinic has signed."""
        holders = sorted(self._revealed)[: self._roster.threshold]
        seed = rebuild({self._roster.names.index(h) + 1: self._revealed[h][owner] for h in holders})
        if signed_form(seed) != expected:
            raise ProtocolError(f"the shares that {owner} gave out rebuild another seed than it has signed", owner)
        return seed

    def _seed_of(self, sharer: str) -> SeedName:
        """Which of a clinic's two seeds is rebuilt."""
        return "self" if sharer in self.statement.survivors else "pair"
