"""The attempt under way: from each request of a masked round to this clinic's part in it."""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from embryofl.errors import ProtocolError
from embryofl.masked_update import sum_weight, to_vector, vector_length
from embryofl.messages import MaskingReply, Request
from embryofl.secagg.clinic import ClinicSession
from embryofl.secagg.ledger import Ledger
from embryofl.secagg.messages import Roster, Terms, digest
from embryofl.wire import Layout
from embryofl_clinic.masking.ledger_file import open_ledger
from embryofl_clinic.masking.peers import Peers, public_key
from embryofl_clinic.policy.rules import load_rules


class Signer(Protocol):
    """The clinic's enrolled key, such as `ClinicIdentity`."""

    @property
    def public_key(self) -> str:
        """OpenSSH line."""

    def sign(self, text: bytes) -> str:
        """ECDSA signature with SHA-256, hexadecimal."""


class Masking:
    """This clinic in masked rounds. The keys of the attempt under way are in memory alone: a restart leaves the attempt.

    Whatever the hub asks for that does not follow from what it asked before raises `ProtocolError`; nothing is sent then.

    Parameters
    ----------
    state_dir : Path
    signer : Signer
    """

    def __init__(self, state_dir: Path, signer: Signer) -> None:
        self._state_dir, self._signer, self._peers = state_dir, signer, Peers(state_dir)
        self._ledger: Ledger | None = None
        self._session: ClinicSession | None = None
        self._terms: Terms | None = None
        self._roster: Roster | None = None

    def reason_to_block(self, request: Request) -> str:
        """Why this clinic does not mask with the clinics of a ``keys`` request, in words that may leave it."""
        assert request.masking is not None
        others = {name: key for name, key in request.masking.peers.items() if name != request.clinic}
        return self._peers.pin(others, ask=load_rules(self._state_dir).peers == "ask")

    def keys(self, request: Request, examples: int, layout: Layout) -> MaskingReply:
        """New keys for the attempt that the request begins. Asked again before the roster, the same ones."""
        assert request.masking is not None and request.masking.terms is not None
        terms = request.masking.terms
        _check_terms(terms, request)
        if terms.length != vector_length(layout):
            raise ProtocolError(f"terms of {terms.length} numbers, expected {vector_length(layout)} of this model")
        if self._session is None or self._roster is not None or terms != self._terms:
            pinned = self._peers.read()
            keys = {name: public_key(pinned[name].key) for name in request.masking.peers if name != request.clinic}
            keys[request.clinic] = public_key(self._signer.public_key)
            if self._ledger is None:
                self._ledger = open_ledger(self._state_dir)
            weight = sum_weight(request.settings, examples)
            self._session = ClinicSession(terms, request.clinic, weight, self._signer.sign, keys, self._ledger)
            self._terms, self._roster = terms, None
        return MaskingReply(advert=self._session.advert)

    def step(self, request: Request) -> MaskingReply:
        """The reply to ``letters``, ``survivors`` or ``shares``."""
        session, masking = self.session(request), request.masking
        assert masking is not None
        if masking.roster is not None:
            letters = session.letters(masking.roster)
            self._roster = masking.roster
            return MaskingReply(letters=letters)
        assert masking.statement is not None
        if request.kind == "survivors":
            return MaskingReply(confirmation=session.confirm(masking.statement))
        return MaskingReply(shares=session.reveal(masking.statement, masking.signatures))

    def mask(self, request: Request, update: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """The masked vector of an update, float32 (floats,), as bytes."""
        session, masking = self.session(request), request.masking
        assert self._terms is not None and masking is not None and masking.letters is not None
        vector = to_vector(update, session.share, self._terms.bound)
        return session.mask(vector, masking.letters).view(np.uint8)

    def session(self, request: Request) -> ClinicSession:
        """The session that a request belongs to.

        Raises
        ------
        ProtocolError
            When this clinic has no keys for it: it was restarted, or the request is of another round.
        """
        if self._session is None or self._terms is None:
            raise ProtocolError(
                f"{request.kind} for round {request.round}, but this clinic has no keys for it, as after a restart; "
                "expected a request for keys first"
            )
        _check_terms(self._terms, request)
        return self._session


def _check_terms(terms: Terms, request: Request) -> None:
    """Raise `ProtocolError` unless the terms are those of the request's work."""
    expected = {
        "run": request.run,
        "round": request.round,
        "kind": "train",
        "model": request.model.sha256,
        "work": digest(request.settings),
    }
    found = terms.model_dump()
    if wrong := [key for key, value in expected.items() if found[key] != value]:
        raise ProtocolError(
            f"{request.kind} for round {request.round} of {request.run}, with terms of another {' and '.join(wrong)}; "
            "expected the same run, round, model and settings in all requests of an attempt"
        )
