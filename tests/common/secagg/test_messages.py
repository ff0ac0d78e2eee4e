"""Messages of secure aggregation: they survive JSON, and whatever is malformed, too long or written in another way is
rejected."""

import json
from itertools import pairwise

import pytest
from pydantic import ValidationError

from embryofl.errors import ProtocolError
from embryofl.schema import Strict
from embryofl.secagg.messages import (
    MAX_MESSAGE,
    PRIME,
    Advert,
    Letter,
    Letters,
    Roster,
    Share,
    Shares,
    Statement,
    Terms,
    digest,
    read,
)
from kits.secagg import Attempt, names_of, revised, travel, zeros

ATTEMPT = Attempt(zeros(4))
STATEMENT = ATTEMPT.until_statement(late=["clinic-04"])
ATTEMPT.confirm()
SHARES = ATTEMPT.clinics["clinic-01"].reveal(STATEMENT, ATTEMPT.unmasking.confirmations())
ADVERT = ATTEMPT.roster.adverts[0]
MESSAGES = [ATTEMPT.terms, ADVERT, ATTEMPT.roster, ATTEMPT.letters["clinic-01"], STATEMENT, SHARES]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_message_survives_json(message):
    assert travel(message) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_unknown_and_missing_fields_are_rejected(message):
    fields = json.loads(message.model_dump_json())
    with pytest.raises(ProtocolError, match="There is no setting more"):
        read(type(message), json.dumps({**fields, "more": 1}).encode())
    for name in fields:
        with pytest.raises(ProtocolError, match=f"{name} is missing"):
            read(type(message), json.dumps({n: v for n, v in fields.items() if n != name}).encode())


ADVERT_FIELDS = json.loads(ADVERT.model_dump_json())
MALFORMED = {
    "not JSON": (Terms, b"\x00\xff"),
    "a list": (Terms, b"[]"),
    "deeply nested": (Terms, b"[" * 30_000 + b"]" * 30_000),
    "a number as text": (Advert, {**ADVERT_FIELDS, "weight": "7"}),
    "half an embryo": (Advert, {**ADVERT_FIELDS, "weight": 7.5}),
    "true as a number": (Advert, {**ADVERT_FIELDS, "weight": True}),
    "no weight": (Advert, {**ADVERT_FIELDS, "weight": 0}),
    "a negative weight": (Advert, {**ADVERT_FIELDS, "weight": -5}),
    "a weight beyond all": (Advert, {**ADVERT_FIELDS, "weight": 10**30}),
    "cells beyond all": (Advert, {**ADVERT_FIELDS, "cells": 1 << 30}),
    "cells as text": (Advert, {**ADVERT_FIELDS, "cells": "3"}),
    "negative cells": (Advert, {**ADVERT_FIELDS, "cells": -1}),
    "capitals": (Advert, {**ADVERT_FIELDS, "mask_key": "AB" * 32}),
    "spaces between bytes": (Advert, {**ADVERT_FIELDS, "mask_key": "ab " * 21 + "a"}),
    "a key with the top bit": (Advert, {**ADVERT_FIELDS, "mask_key": "00" * 31 + "80"}),
    "a key above the prime": (Advert, {**ADVERT_FIELDS, "encryption_key": (PRIME + 3).to_bytes(32, "little").hex()}),
    "a signature of odd length": (Advert, {**ADVERT_FIELDS, "signature": "abc" * 11}),
    "a long signature": (Advert, {**ADVERT_FIELDS, "signature": "ab" * 105}),
    "a name with a line break": (Advert, {**ADVERT_FIELDS, "clinic": "anna\nbert"}),
    "a long name": (Advert, {**ADVERT_FIELDS, "clinic": "a" * 41}),
    "an endless bound": (Terms, b'{"bound": Infinity}'),
    "no bound": (Terms, {**ATTEMPT.terms.model_dump(), "bound": 0.0}),
    "a tiny bound": (Terms, {**ATTEMPT.terms.model_dump(), "bound": 1e-300}),
    "a negative round": (Terms, {**ATTEMPT.terms.model_dump(), "round": -1}),
    "attempt 0": (Terms, {**ATTEMPT.terms.model_dump(), "attempt": 0}),
    "a vector beyond memory": (Terms, {**ATTEMPT.terms.model_dump(), "length": 1 << 40}),
    "an empty vector": (Terms, {**ATTEMPT.terms.model_dump(), "length": 0}),
    "another kind": (Terms, {**ATTEMPT.terms.model_dump(), "kind": "anything"}),
    "a short letter": (Letter, {"sealed": "ab", "self_commitment": "ab" * 32, "pair_commitment": "ab" * 32}),
    "a third seed": (Share, {"clinic": "anna", "seed": "both", "value": "ab" * 16}),
    "a long share": (Share, {"clinic": "anna", "seed": "self", "value": "ab" * 17}),
    "51 letters": (
        Letters,
        {
            "roster": "ab" * 32,
            "letters": dict.fromkeys(names_of(51), dict(ATTEMPT.letters["clinic-01"].letters["clinic-02"])),
        },
    ),
    "51 shares": (Shares, {"roster": "ab" * 32, "shares": [SHARES.shares[0].model_dump()] * 51}),
    "51 survivors": (Statement, {"roster": "ab" * 32, "sharers": names_of(51), "survivors": []}),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_message_is_rejected_by_what_it_is(kind):
    schema, content = MALFORMED[kind]
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(ProtocolError, match=f"^{schema.__name__}: "):
        read(schema, data)


def test_message_that_is_too_long_is_rejected_unread():
    data = STATEMENT.model_dump_json().encode()
    assert read(Statement, data + b" " * (MAX_MESSAGE - len(data))) == STATEMENT
    with pytest.raises(ProtocolError, match=f"Statement: {MAX_MESSAGE + 1} bytes, expected at most {MAX_MESSAGE}"):
        read(Statement, data + b" " * (MAX_MESSAGE + 1 - len(data)))


def test_the_longest_messages_may_travel():
    """Fifty clinics with the longest names."""
    names = [f"{name:a<40}" for name in names_of(50)]
    adverts = [
        revised(
            ADVERT,
            clinic=n,
            mask_key=f"{i + 100:062x}00",
            encryption_key=f"{i + 200:062x}00",
            commitment=f"{i + 300:062x}00",
            signature="ab" * 104,
        )
        for i, n in enumerate(names)
    ]
    letter = ATTEMPT.letters["clinic-01"].letters["clinic-02"]
    share = SHARES.shares[0]
    for message in (
        revised(ATTEMPT.roster, adverts=tuple(adverts)),
        Letters(roster="ab" * 32, letters=dict.fromkeys(names, letter)),
        Shares(roster="ab" * 32, shares=tuple(revised(share, clinic=n) for n in names)),
    ):
        assert travel(message) == message


@pytest.mark.parametrize(
    ("sharers", "survivors", "words"),
    [
        (["b", "a"], ["a"], "out of order"),
        (["a", "a", "b"], ["a"], "twice"),
        (["a", "b"], ["b", "b"], "twice"),
        (["a", "b"], ["a", "c"], "survivors c without letters"),
    ],
)
def test_statement_has_each_clinic_once_and_survivors_among_the_sharers(sharers, survivors, words):
    with pytest.raises(ValidationError, match=words):
        Statement(roster="ab" * 32, sharers=tuple(sharers), survivors=tuple(survivors))


def test_roster_has_each_clinic_and_each_key_once_in_order_and_3_to_50_of_them():
    first, second, third, fourth = ATTEMPT.roster.adverts
    for adverts, words in (
        ((first, second), "at least 3"),
        ((second, first, third), "out of order"),
        ((first, second, second, third), "twice"),
        ((first, second, revised(third, mask_key=first.mask_key)), "one key or commitment of clinic-01 and clinic-03"),
        ((first, second, revised(third, encryption_key=first.mask_key)), "clinic-01 and clinic-03"),
        ((first, second, revised(third, commitment=first.commitment)), "clinic-01 and clinic-03"),
        ((first, second, revised(third, mask_key=third.encryption_key)), "clinic-03 and clinic-03"),
        (tuple(revised(fourth, clinic=n) for n in names_of(51)), "at most 50"),
    ):
        with pytest.raises(ValidationError, match=words):
            Roster(terms=ATTEMPT.terms, adverts=adverts, drawn={})


def test_every_field_of_terms_and_adverts_is_part_of_the_roster_and_of_what_is_signed():
    changed = {
        "run": "run-0002",
        "round": 8,
        "kind": "evaluate",
        "attempt": 2,
        "model": "00" * 32,
        "work": "00" * 32,
        "length": 41,
        "bound": 2.0,
    }
    assert changed.keys() == Terms.model_fields.keys()
    terms = [ATTEMPT.terms, *(revised(ATTEMPT.terms, **{name: value}) for name, value in changed.items())]
    assert len({revised(ATTEMPT.roster, terms=t).digest() for t in terms}) == len(terms)
    assert len({ADVERT.text(t) for t in terms}) == len(terms)
    assert len({t.digest() for t in terms}) == len(terms) - 1  # another attempt at a round is on the same terms
    keys = {"mask_key": "01" * 32, "encryption_key": "02" * 32, "commitment": "03" * 32}
    fields = {"clinic": "a", "weight": 101, "cells": 1, **keys}
    assert {*fields, "signature"} == Advert.model_fields.keys()
    adverts = [ADVERT, *(revised(ADVERT, **{name: value}) for name, value in fields.items())]
    assert len({a.text(ATTEMPT.terms) for a in adverts}) == len(adverts)
    rosters = {revised(ATTEMPT.roster, adverts=(a, *ATTEMPT.roster.adverts[1:])).digest() for a in adverts}
    assert len(rosters) == len(adverts)


def test_roster_does_not_depend_on_how_a_signature_is_written():
    """Of every ECDSA signature there is a second one, which anybody can compute."""
    other = revised(ADVERT, signature="30" * 100)
    assert revised(ATTEMPT.roster, adverts=(other, *ATTEMPT.roster.adverts[1:])).digest() == ATTEMPT.roster.digest()


def test_signed_texts_of_different_kinds_begin_differently():
    """No signature may serve for another purpose of the same key: `embryofl.membership` signs texts with it, too."""
    beginnings = [t.split(b"\n")[0] for t in (ADVERT.text(ATTEMPT.terms), STATEMENT.text())]
    assert beginnings == [b"embryofl secagg 1 advert", b"embryofl secagg 1 survivors"]


def test_digest_of_work_differs_with_every_setting():
    class Settings(Strict):
        learning_rate: float = 0.1
        epochs: int = 2

    digests = [digest(s) for s in (Settings(), Settings(learning_rate=0.2), Settings(epochs=3))]
    assert len({*digests}) == 3 and digests[0] == digest(Settings()) and all(len(d) == 64 for d in digests)


def test_shares_of_the_weights_are_those_of_all_or_of_some():
    attempt = Attempt(zeros(4), dict(zip(names_of(4), [10, 20, 30, 40], strict=True)))
    roster = attempt.close_roster()
    assert roster.share(("clinic-04",), 1) == 0.4 and roster.share(roster.names, 1) == 1
    assert roster.share(("clinic-01",), 1, ("clinic-01", "clinic-03")) == 0.25
    parts = [roster.share(names_of(4)[:count], 1) for count in range(1, 5)]
    assert all(a < b for a, b in pairwise(parts))
