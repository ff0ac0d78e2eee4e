"""One attempt at secure aggregation with all its clinics in one process. Every message travels as JSON."""

import hashlib
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from embryofl.clinic_keys import openssh, sign
from embryofl.secagg.clinic import ClinicSession
from embryofl.secagg.fixed_point import RING, to_ring
from embryofl.secagg.hub import HubSession
from embryofl.secagg.ledger import Ledger
from embryofl.secagg.messages import Roster, Statement, Terms, read
from embryofl.secagg.unmasking import ClosedSum, Unmasking

MODEL, WORK = "ab" * 32, "cd" * 32
TERMS = Terms(
    run="run-0001", round=7, kind="train", attempt=1, model=MODEL, work=WORK, length=40, bound=1.0
)  # changed by `revised`


def names_of(count: int) -> list[str]:
    return [f"clinic-{number:02d}" for number in range(1, count + 1)]


@cache
def key_of(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def public_keys(names):
    return {name: openssh(key_of(name)) for name in names}


def signer(name):
    """As `ClinicIdentity.sign`."""
    return lambda text: sign(key_of(name), text)


def revised(message, **fields):
    """The message with other fields, checked again: what somebody who changes it would send."""
    return type(message).model_validate({**{n: getattr(message, n) for n in type(message).model_fields}, **fields})


def travel(message):
    """The message as the other side reads it."""
    return read(type(message), message.model_dump_json().encode())


def new_ledger() -> Ledger:
    return Ledger(lambda confirmation: None)


def updates_of(count: int, length: int, seed: int = 0):
    """Updates, float32 (length,), of a norm of about 0.6, and weights."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(length, np.float32)
    updates = {
        name: (common + rng.standard_normal(length, np.float32)) * np.float32(0.42 / length**0.5)
        for name in names_of(count)
    }
    return updates, {name: int(rng.integers(60, 300)) for name in updates}


class Attempt:
    """Hub and clinics of one attempt.

    `updates` are float32 (length,) by clinic, `limits` the keyword arguments of every `ClinicSession`, `terms` changes of
    `TERMS`. `plain` becomes the sum of the vectors before they are masked.
    """

    def __init__(self, updates, weights=None, ledgers=None, limits=None, **terms):
        self.updates, self.names = updates, sorted(updates)
        length = len(next(iter(updates.values())))
        self.terms = travel(revised(TERMS, length=length, **terms))
        self.keys, self.weights = public_keys(self.names), weights or dict.fromkeys(self.names, 100)
        self.ledgers = ledgers or {name: new_ledger() for name in self.names}
        self.clinics = {name: self.session(name, **(limits or {})) for name in self.names}
        self.hub = HubSession(self.terms, self.keys)
        self.plain = np.zeros(length, RING)

    def session(self, name, terms=None, **limits) -> ClinicSession:
        terms = terms or self.terms
        return ClinicSession(terms, name, self.weights[name], signer(name), self.keys, self.ledgers[name], **limits)

    def close_roster(self) -> Roster:
        for clinic in self.clinics.values():
            self.hub.take_advert(travel(clinic.advert))
        self.roster: Roster = travel(self.hub.close_roster())
        return self.roster

    def exchange_letters(self, silent=()):
        """Steps 1 to 4; the `silent` drop out before they send letters."""
        self.close_roster()
        for name, clinic in self.clinics.items():
            if name not in silent:
                self.hub.take_letters(name, travel(clinic.letters(self.roster)))
        self.letters = {name: travel(self.hub.letters_for(name)) for name in self.hub.close_letters()}

    def vector(self, name):
        return to_ring(self.updates[name], self.roster.share((name,), 1), self.terms.bound)[0]

    def mask(self, late=(), order=1):
        """Step 5; the `late` never upload."""
        for name in [n for n in self.letters if n not in late][::order]:
            vector = self.vector(name)
            source = hashlib.sha256(self.updates[name]).hexdigest()
            self.hub.take_masked(name, self.clinics[name].mask(vector, self.letters[name], source))
            self.plain += vector

    def close_sum(self) -> Statement:
        """Step 6."""
        closed = travel_closed(self.hub.close_sum())
        self.unmasking = Unmasking(closed, self.hub.masked_sum, self.keys)
        self.statement: Statement = travel(self.unmasking.statement)
        return self.statement

    def confirm(self, gone=()):
        """Step 7; the `gone` have dropped out after their upload."""
        for name in self.statement.survivors:
            if name not in gone:
                self.unmasking.take_confirmation(name, self.clinics[name].confirm(self.statement))

    def reveal(self, gone=()):
        """Step 8."""
        signatures = self.unmasking.confirmations()
        for name in self.statement.survivors:
            if name not in gone:
                self.unmasking.take_shares(name, travel(self.clinics[name].reveal(self.statement, signatures)))

    def until_statement(self, silent=(), late=()) -> Statement:
        self.exchange_letters(silent)
        self.mask(late)
        return self.close_sum()

    def run(self, silent=(), late=(), gone=()):
        """All steps; the sum."""
        self.until_statement(silent, late)
        self.confirm(gone)
        self.reveal(gone)
        return self.unmasking.total()


def travel_closed(closed: ClosedSum) -> ClosedSum:
    """What the hub reads from disk."""
    return ClosedSum.model_validate_json(closed.model_dump_json())


def zeros(count: int, length: int = 40):
    return {name: np.zeros(length, np.float32) for name in names_of(count)}
