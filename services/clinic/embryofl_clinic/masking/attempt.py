"""The attempt under way: from each request of a masked round to this clinic's part in it."""

import hashlib
import logging
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embryofl import pooled_metrics
from embryofl.errors import KeysLostError, ProtocolError
from embryofl.masked_update import SLOTS, roster_deviation, sum_weight, to_vector, update_bound, vector_length
from embryofl.messages import MaskingReply, Request
from embryofl.secagg.clinic import ClinicSession
from embryofl.secagg.fixed_point import RING, Ring
from embryofl.secagg.messages import Roster, Terms, digest, text_of
from embryofl.secagg.noise import add_noise
from embryofl.secagg.threshold import MIN_CLINICS, threshold
from embryofl.wire import Layout
from embryofl_clinic.masking.alarms import Alarms
from embryofl_clinic.masking.ledger_file import LedgerFile
from embryofl_clinic.masking.noise_key import derived, noise_key
from embryofl_clinic.masking.peers import Peers
from embryofl_clinic.policy.rules import load_rules

log = logging.getLogger("embryofl.clinic")

ROUNDING = 1e-9  # a bound may be this much above the formula's: another machine's last digit


class Signer(Protocol):
    """The clinic's enrolled key, such as `ClinicIdentity`."""

    @property
    def public_key(self) -> str:
        """OpenSSH line."""

    @property
    def authorities(self) -> Collection[str]:
        """By which it knows its hub: SHA-256 of certificates."""

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
        self._ledger, self.alarms = LedgerFile(state_dir), Alarms(state_dir)
        self._began: set[tuple[str, str]] = set()  # run and model that keys were made for
        self._session: ClinicSession | None = None
        self._terms: Terms | None = None
        self._asked: tuple[Terms, dict[str, str]] | None = None  # terms and clinics of the newest keys

    def reason_to_block(self, request: Request) -> str:
        """Why this clinic does not mask with the clinics of a ``keys`` request, in words that may leave it."""
        assert request.masking is not None
        shown = request.masking.peers
        others = {name: key for name, key in shown.items() if name != request.clinic}
        ask = load_rules(self._state_dir).peers == "ask"
        if blocked := self._peers.pin(others, request.masking.changes, self._signer.authorities, ask=ask):
            return blocked
        if len(shown) < (least := self._least()):
            return (
                f"{len(shown)} clinics are asked, and with the clinics whose keys were compared here it takes {least}"
            )
        before = self._ledger.read().of_model(request.work, request.model.sha256)
        # Of a sum of its group, other clinics are asked as well.
        missing = {*before.survivors} - {*shown} if before else set()
        more = {*shown} - {*before.survivors} if before and not before.drawn else set()
        if before is not None and (before.work != digest(request.settings) or missing or more):
            what = "updates to" if request.work == "train" else "metrics of"
            return (
                f"{what} this model were summed before, in round {before.round} of {before.run}, with other settings "
                "or clinics: two such sums can tell one clinic's update. Start a run with another seed"
            )
        return ""

    def reason_against_plain(self, request: Request) -> str:
        """Why this clinic does not train without masks for a request that has none, in words that may leave it."""
        if request.kind != "train" or request.masking is not None:
            return ""
        began = request.run, request.model.sha256
        if began in self._began or self._ledger.read().has(*began):
            return "training from this model began with masks in this run, and now there are none"
        return ""

    def _least(self) -> int:
        """How many clinics a roster and a sum need: so many that a third of those whose keys were compared here cannot be
        all the others."""
        compared = sum(peer.compared for peer in self._peers.read().values())
        return max(MIN_CLINICS, threshold(1 + compared))

    def keys(self, request: Request, examples: int, layout: Layout, cells: int) -> MaskingReply:
        """New keys for the attempt that the request begins. Asked again before the roster, the same ones. `cells`: those
        that its counts fill (`pooled_metrics.filled_cells`)."""
        assert request.masking is not None and request.masking.terms is not None
        terms = request.masking.terms
        _check_terms(terms, request)
        pooled = request.work != "train"
        length = pooled_metrics.LENGTH if pooled else vector_length(layout)
        if terms.length != length:
            raise ProtocolError(f"terms of {terms.length} numbers, expected {length} to {request.work} with this model")
        most = pooled_metrics.BOUND if pooled else update_bound(request.settings, request.round, layout, math.inf)
        if terms.bound > most * (1 + ROUNDING):
            raise ProtocolError(
                f"terms with a bound of {terms.bound:.6g}, expected at most {most:.6g} as these settings have it: with a "
                "wider one only the largest numbers of an update are left"
            )
        if request.settings.dp_epsilon and not pooled and terms.bound < most * (1 - ROUNDING):
            raise ProtocolError(f"terms with a bound of {terms.bound:.6g}, expected {most:.6g} with dp_epsilon")
        asked = terms, request.masking.peers
        if self._session is None or self._session.has_roster or asked != self._asked:
            pinned = self._peers.read()
            keys = {name: pinned[name].key for name in request.masking.peers if name != request.clinic}
            keys[request.clinic] = self._signer.public_key
            weight = pooled_metrics.WEIGHT if pooled else sum_weight(request.settings, examples)
            rules = load_rules(self._state_dir)
            self._session = ClinicSession(
                terms,
                request.clinic,
                weight,
                self._signer.sign,
                keys,
                self._ledger,
                cells=cells,
                max_share=rules.max_share,
                min_survivors=self._least(),
                min_sum=rules.min_sum,
                seed=request.settings.seed if request.settings.grouped and not pooled else None,
            )
            self._terms, self._asked = terms, asked
            if not pooled:
                self._began.add((request.run, request.model.sha256))
        return MaskingReply(advert=self._session.advert)

    def step(self, request: Request) -> MaskingReply:
        """The reply to ``letters``, ``survivors`` or ``shares``."""
        session, masking = self.session(request), request.masking
        assert masking is not None
        if masking.roster is not None:
            if masking.roster.terms.kind == "train":
                self._ledger.read().check_draw(request.run, masking.roster.draw)
            letters = session.letters(masking.roster)
            what = "updates" if masking.roster.terms.kind == "train" else "metrics"
            log.info("round %d: %s are masked among %s", request.round, what, ", ".join(masking.roster.names))
            return MaskingReply(letters=letters)
        assert masking.statement is not None
        if request.kind == "survivors":
            return MaskingReply(confirmation=session.confirm(masking.statement))
        return MaskingReply(shares=session.reveal(masking.statement, masking.signatures))

    def mask(
        self, request: Request, work: npt.NDArray[Any], *, alarm: bool = False, noise: bytes = b""
    ) -> npt.NDArray[np.uint8]:
        """The masked vector of an update, float32 or float64 (floats,), with its noise and alarm, or of counts, uint32
        (length,), as bytes. `noise`: the secret that was drawn for the update in a run with `dp_epsilon`."""
        session, masking = self.session(request), request.masking
        assert self._terms is not None and masking is not None and masking.letters is not None
        roster = session.roster
        vector: Ring
        if work.dtype == RING:
            filled = [advert.cells for advert in roster.adverts]
            may_drop_out = len(filled) - roster.threshold
            vector = pooled_metrics.withhold_cells(work, filled, MIN_CLINICS + may_drop_out)
        else:
            share = roster.share((request.clinic,), request.settings.share_cap)
            vector = to_vector(work, share, self._terms.bound, alarm=alarm)
        if request.work == "train" and (deviation := roster_deviation(request.settings, roster, len(work))):
            add_noise(vector[:-SLOTS], self._noise_key(request, roster, noise), deviation)
        source = hashlib.sha256(np.ascontiguousarray(work).data).hexdigest()
        if not np.isfinite(work).all():
            log.error(
                "round %d: the update has numbers that are not finite. Zeros are sent under the mask in its place: the "
                "model is unusable, or the learning rate too high",
                request.round,
            )
            source = self._terms.digest()  # zeros are one update in many rounds, of which the ledger allows one sum
        return session.mask(vector, masking.letters, source).view(np.uint8)

    def _noise_key(self, request: Request, roster: Roster, drawn: bytes) -> bytes:
        """The same for the same clinics, so that another attempt has the same vector. With `dp_epsilon`, other clinics have
        other noise: then the update has another share, and two vectors with the same noise would tell it."""
        if not request.settings.dp_epsilon:
            return noise_key(self._state_dir, "noise", request.run, request.round, request.model.sha256)
        weights = {advert.clinic: advert.weight for advert in roster.adverts}
        return derived(drawn, text_of("private noise", weights))

    def session(self, request: Request) -> ClinicSession:
        """The session that a request belongs to.

        Raises
        ------
        KeysLostError
            When this clinic has no keys for it, because it was restarted.
        ProtocolError
            When the request is of another round.
        """
        if self._session is None or self._terms is None:
            raise KeysLostError(
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
        "kind": request.work if request.kind in ("keys", "train", "evaluate", "audit") else terms.kind,
        "model": request.model.sha256,
        "work": digest(request.settings),
    }
    found = terms.model_dump()
    if wrong := [key for key, value in expected.items() if found[key] != value]:
        raise ProtocolError(
            f"{request.kind} for round {request.round} of {request.run}, with terms of another {' and '.join(wrong)}; "
            "expected the same run, round, model and settings in all requests of an attempt"
        )
