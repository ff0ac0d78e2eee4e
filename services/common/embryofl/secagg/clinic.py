"""A clinic's side of one attempt: advert, letters, masked vector, confirmation, shares."""

import hashlib
import secrets
from collections.abc import Callable, Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from embryofl.clinic_keys import signed_by
from embryofl.errors import ProtocolError, SumRefusedError
from embryofl.secagg.fixed_point import RING, Ring
from embryofl.secagg.groups import check_group
from embryofl.secagg.key_agreement import (
    SEED,
    key_from_seed,
    pair_mask_key,
    public_text,
    seed_commitment,
    self_mask_key,
)
from embryofl.secagg.ledger import Confirmation, Confirming
from embryofl.secagg.letters import seal, unseal
from embryofl.secagg.masks import Mask, apply_masks, pair_sign
from embryofl.secagg.messages import Advert, Letters, Roster, Share, Shares, Statement, Terms, advert_text
from embryofl.secagg.shares import SeedShares, split
from embryofl.secagg.signatures import Keys, check_roster
from embryofl.secagg.threshold import MAX_SHARE, MIN_CLINICS, largest_part


class ClinicSession:
    """One clinic in one attempt at one round. Each step rejects what does not follow from the one before it.

    Its secrets are in memory alone: a clinic that is restarted has dropped out of the attempt. Not for several threads.

    Parameters
    ----------
    terms : Terms
        As the hub sent them. The caller compares run, round and model with what the clinic trains.
    name : str
    weight : int
        At least 1; see `Advert`.
    sign : callable
        `ClinicIdentity.sign`: makes a signature, hexadecimal, of bytes. The same key during the whole attempt.
    keys : mapping of str to str
        The pinned keys of the other clinics, and this clinic's own: OpenSSH lines.
    ledger : Confirming
        The same one for all attempts, rounds and runs.
    cells : int (default: 0)
        See `Advert`.
    max_share : float (default: 0.8)
        The largest part of the weights that this clinic may have, of the roster and of the survivors, without the heaviest
        third of the clinics: these may help the hub.
    min_survivors : int (default: 3)
        How many clinics a roster, a sum and its confirmations need, whatever the attempt's own threshold is. The hub
        chooses the roster, and could choose those that help it. With ``threshold(n)`` of a federation of ``n`` clinics no
        round has two sums, whatever the hub tries, as long as at most a third of the federation helps it.
    min_sum : int (default: 3)
        The smallest sum that this clinic is part of, whoever drops out: what the attempt's own threshold has to be.
    seed : int, optional
        Of a run whose clinics are drawn into groups (`groups`). `min_survivors` then says how many must have been drawn.

    Attributes
    ----------
    advert : Advert
        Step 1.
    """

    def __init__(
        self,
        terms: Terms,
        name: str,
        weight: int,
        sign: Callable[[bytes], str],
        keys: Keys,
        ledger: Confirming,
        *,
        cells: int = 0,
        max_share: float = MAX_SHARE,
        min_survivors: int = MIN_CLINICS,
        min_sum: int = MIN_CLINICS,
        seed: int | None = None,
    ) -> None:
        self._terms, self._name, self._sign, self._keys, self._ledger = terms, name, sign, keys, ledger
        self._max_share, self._min_sum, self._seed = max_share, min_sum, seed
        self._min_drawn, self._min_survivors = min_survivors, min_survivors if seed is None else MIN_CLINICS
        self._self_seed, self._pair_seed = secrets.token_bytes(SEED), secrets.token_bytes(SEED)
        self._mask_key = key_from_seed(self._pair_seed)
        self._encryption_key = X25519PrivateKey.from_private_bytes(secrets.token_bytes(32))
        fields = {
            "clinic": name,
            "weight": weight,
            "cells": cells,
            "mask_key": public_text(self._mask_key),
            "encryption_key": public_text(self._encryption_key),
            "commitment": seed_commitment(self._self_seed),
        }
        self.advert = Advert.model_validate({**fields, "signature": sign(advert_text(terms, fields))})
        self._roster: Roster | None = None
        self._digest = ""  # of the roster
        self._letters: Letters | None = None
        self._held: dict[str, SeedShares] = {}  # by owner
        self._vector = self._update = ""  # SHA-256 of what was masked, and of what it was made of
        self._statement: Statement | None = None

    @property
    def has_roster(self) -> bool:
        """Whether it has come: these keys are good for no other."""
        return self._roster is not None

    @property
    def roster(self) -> Roster:
        """Of this attempt. Raises `ProtocolError` before `letters`."""
        if self._roster is None:
            raise ProtocolError("a step that needs the roster came first, expected the roster")
        return self._roster

    def letters(self, roster: Roster) -> Letters:
        """Step 3: shares of this clinic's two seeds for each clinic of the roster, also for itself.

        Raises
        ------
        ProtocolError
            On a roster with other terms, with clinics that are not pinned or did not sign, or with another advert of this
            clinic; on one of another group; and on a second, different roster.
        SumRefusedError
            On a roster in which this clinic's part is too large, or of which too small a sum is possible.
        TooFewClinicsError
            On a roster of fewer than `min_survivors`.
        """
        digest = roster.digest()
        if self._letters is not None:
            if digest != self._digest:
                raise ProtocolError("a second, different roster in one attempt, expected the first one again")
            return self._letters
        if roster.terms != self._terms:
            raise ProtocolError(f"a roster with the terms {roster.terms}, expected {self._terms}")
        if self._name not in roster.names or roster.advert_of(self._name) != self.advert:
            raise ProtocolError(
                f"a roster without the advert of {self._name}, or with another one, expected what it sent"
            )
        roster.check_enough(len(roster.names), "clinics in a roster", self._min_survivors)
        check_roster(roster, self._keys)
        check_group(roster, self._name, self._seed, self._keys, self._min_drawn)
        if roster.threshold < self._min_sum:
            raise SumRefusedError(
                f"a sum over {roster.threshold} of {len(roster.names)} clinics is possible if others drop out, expected at "
                f"least {self._min_sum} (min_sum)"
            )
        self._check_share(roster, roster.names)
        clinics, needed = len(roster.names), roster.threshold
        shares = [split(seed, needed, clinics) for seed in (self._self_seed, self._pair_seed)]
        self._letters = Letters(
            roster=digest,
            letters={
                peer.clinic: seal(
                    self._encryption_key, peer.encryption_key, digest, self._name, peer.clinic, SeedShares(*pair)
                )
                for peer, *pair in zip(roster.adverts, *shares, strict=True)
            },
        )
        self._roster, self._digest = roster, digest
        return self._letters

    def mask(self, vector: Ring, letters: Letters, update: str = "") -> Ring:
        """Step 5: the vector under this clinic's own mask and one with each other clinic that sent letters.

        Parameters
        ----------
        vector : ndarray of uint32, (length,)
        letters : Letters
            To this clinic, its own among them.
        update : str, optional
            For the ledger: SHA-256 of what the vector was made of, before this clinic's share scaled it. By default it is
            the vector itself.

        Returns
        -------
        ndarray of uint32, (length,)

        Raises
        ------
        ProtocolError
            On letters of another roster, or one that cannot be opened (`clinic` is its sender). On a second, different
            vector, or other senders: these keys mask one vector once.
        TooFewClinicsError
            With letters from too few clinics.
        """
        roster = self.roster
        if vector.dtype != RING or vector.shape != (self._terms.length,):
            raise ProtocolError(f"a vector of {vector.dtype} {vector.shape}, expected uint32 ({self._terms.length},)")
        masked = np.array(vector)  # contiguous
        digest = hashlib.sha256(masked.data).hexdigest()
        if self._vector:
            if digest != self._vector or {*letters.letters} != {*self._held}:
                raise ProtocolError(
                    "another vector or other senders of letters than before, expected the same: keys mask one vector"
                )
        else:
            self._held, self._vector, self._update = self._opened(roster, letters), digest, update or digest
        mine = Mask(self_mask_key(self._self_seed, self._digest, self._name), 1)
        apply_masks(masked, [mine, *(self._pair_mask(roster, peer) for peer in self._held if peer != self._name)])
        return masked

    def confirm(self, statement: Statement) -> str:
        """Step 7: this clinic's signature that these are the survivors, after the ledger has kept them.

        Raises
        ------
        ProtocolError
            On a statement about another roster or other senders of letters, or without this clinic. On a second, different
            statement in this attempt, and on another sum than was confirmed for this round, model or update before
            (`Ledger`).
        SumRefusedError
            On a sum in which this clinic's part is too large.
        TooFewClinicsError
            With too few survivors.
        """
        roster = self.roster
        if not self._vector:
            raise ProtocolError("a statement about survivors before anything was masked, expected letters first")
        if self._statement not in (None, statement):
            raise ProtocolError(
                "a second, different statement in one attempt, expected the first one: a clinic has survived or has not"
            )
        if statement.roster != self._digest or {*statement.sharers} != {*self._held}:
            raise ProtocolError(
                f"a statement about another roster, or with letters from {', '.join(statement.sharers)}; expected this "
                f"attempt's, and {', '.join(sorted(self._held))}"
            )
        if self._name not in statement.survivors:
            raise ProtocolError(f"survivors without {self._name}, expected only to be asked as one of them")
        roster.check_enough(len(statement.survivors), "survivors", self._min_survivors)
        self._check_share(roster, statement.survivors)
        self._ledger.confirm(
            Confirmation(
                run=self._terms.run,
                round=self._terms.round,
                kind=self._terms.kind,
                terms=self._terms.digest(),
                model=self._terms.model,
                work=self._terms.work,
                survivors=statement.survivors,
                weights=tuple(roster.advert_of(name).weight for name in statement.survivors),
                update=self._update,
                drawn=roster.draw,
            )
        )
        self._statement = statement
        return self._sign(statement.text())

    def reveal(self, statement: Statement, signatures: Mapping[str, str]) -> Shares:
        """Step 8: for each clinic a share of one of its two seeds: a survivor's for its own mask, another clinic's for its
        pairwise masks.

        Parameters
        ----------
        statement : Statement
            The one that this clinic has confirmed.
        signatures : mapping of str to str
            Confirmations by clinic.

        Raises
        ------
        ProtocolError
            On another statement than this clinic has confirmed.
        TooFewClinicsError
            Unless enough survivors have confirmed the same statement.
        """
        roster = self.roster
        if self._statement is None or statement != self._statement:
            raise ProtocolError(
                "shares are asked for another statement than this clinic has confirmed, expected that one"
            )
        text = statement.text()
        valid = sum(signed_by(self._keys[name], signatures.get(name, ""), text) for name in statement.survivors)
        roster.check_enough(valid, "valid confirmations", self._min_survivors)
        shares = []
        for name, held in sorted(self._held.items()):
            if name in statement.survivors:
                shares.append(Share(clinic=name, seed="self", value=held.self_seed.hex()))
            else:
                shares.append(Share(clinic=name, seed="pair", value=held.pair_seed.hex()))
        return Shares(roster=self._digest, shares=tuple(shares))

    def _opened(self, roster: Roster, letters: Letters) -> dict[str, SeedShares]:
        if letters.roster != self._digest:
            raise ProtocolError(f"letters of roster {letters.roster}, expected {self._digest}")
        senders = {*letters.letters}
        if strangers := sorted(senders - {*roster.names}):
            raise ProtocolError(f"letters from {', '.join(strangers)}, expected only clinics of the roster")
        if self._name not in senders:
            raise ProtocolError(f"letters without that of {self._name} to itself, expected it back")
        roster.check_enough(len(senders), "senders of letters", self._min_survivors)
        return {
            sender: unseal(
                self._encryption_key,
                roster.advert_of(sender).encryption_key,
                self._digest,
                sender,
                self._name,
                letters.letters[sender],
            )
            for sender in sorted(senders)
        }

    def _pair_mask(self, roster: Roster, peer: str) -> Mask:
        key = pair_mask_key(self._mask_key, roster.advert_of(peer).mask_key, self._digest, self._name, peer)
        return Mask(key, pair_sign(self._name, peer))

    def _check_share(self, roster: Roster, names: tuple[str, ...]) -> None:
        """If the heaviest third of the clinics help the hub, they can take their own part out of the sum."""
        part = largest_part([roster.advert_of(name).weight for name in names], self.advert.weight)
        if part > self._max_share:
            raise SumRefusedError(
                f"{self._name} would be {part:.0%} of a sum over {len(names)} clinics without the heaviest third of them, "
                f"expected at most {self._max_share:.0%} (max_share)"
            )
