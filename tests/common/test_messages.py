"""Messages are strict: neither side acts on a message that it only partly understands."""

import itertools
import json

import pytest
from pydantic import ValidationError

from embryofl.membership import Enrolment, proof_text
from embryofl.messages import PROTOCOL, Reply, Request, round_seed
from embryofl.settings import RunSettings

SHA = "a" * 64


def request(**changes: object) -> dict[str, object]:
    body: dict[str, object] = {
        "kind": "train",
        "run": "run-0001",
        "round": 1,
        "clinic": "lisbon",
        "settings": RunSettings().model_dump(),
        "layout": "0123456789abcdef",
        "model": {"url": "/v1/model/run-0001/round-0000.safetensors?x", "size": 10, "sha256": SHA},
        "upload_url": "/v1/update/abc?x",
        "deadline": 1e9,
    }
    return body | changes


def reply(**changes: object) -> dict[str, object]:
    body: dict[str, object] = {"kind": "train", "run": "run-0001", "round": 1, "layout": "0123456789abcdef"}
    return body | changes


def test_request_survives_json():
    sent = Request.model_validate(request())
    assert Request.model_validate_json(sent.model_dump_json()) == sent
    assert sent.protocol == PROTOCOL


@pytest.mark.parametrize(
    "change",
    [
        {"command": "rm"},
        {"protocol": PROTOCOL + 1},
        {"kind": "execute"},
        {"run": "../other"},
        {"run": "run/1"},
        {"clinic": "Lisbon"},
        {"clinic": ""},
        {"round": -1},
        {"layout": "0123"},
        {"model": {"url": "https://elsewhere/v1/x", "size": 1, "sha256": SHA}},
        {"model": {"url": "//elsewhere/v1/", "size": 1, "sha256": SHA}},
        {"model": {"url": "/v1/x", "size": 0, "sha256": SHA}},
        {"model": {"url": "/v1/x", "size": 1, "sha256": "short"}},
        {"upload_url": "ftp://x"},
        {"upload_url": "@elsewhere/v1/"},
        {"settings": {**RunSettings().model_dump(), "code": "print()"}},
        {"settings": {**RunSettings().model_dump(), "rounds": 0}},
    ],
    ids=str,
)
def test_request_of_another_form_is_rejected(change):
    with pytest.raises(ValidationError):
        Request.model_validate_json(json.dumps(request(**change)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_messages_carry_no_nan_or_infinity(number):
    for field in ("train_loss",):
        text = json.dumps(reply(**{field: 0.5})).replace("0.5", number)
        with pytest.raises(ValidationError):
            Reply.model_validate_json(text)
    with pytest.raises(ValidationError):
        Request.model_validate_json(json.dumps(request(deadline=0.5)).replace("0.5", number))


def test_reply_with_an_unknown_field_is_rejected():
    Reply.model_validate(reply())
    for extra in ({"scores": [0.1]}, {"update": {"size": 1, "sha256": SHA, "path": "/etc"}}, {"seconds": {"x": 1}}):
        with pytest.raises(ValidationError):
            Reply.model_validate(reply(**extra))


def test_checked_messages_cannot_be_changed():
    with pytest.raises(ValidationError):
        Reply.model_validate(reply()).examples = 5  # type: ignore[misc]


def test_seeds_are_distinct_and_do_not_change():
    keys = list(itertools.product((0, 1, 2**31 - 1), range(1, 30), ("a", "b", "clinic-1", "1")))
    seeds = {round_seed(*key) for key in keys}
    assert len(seeds) == len(keys) and all(0 <= s < 2**63 for s in seeds)
    assert (
        round_seed(0, 1, "clinic-1") == 5047340767023067209
    )  # unchanged, so that a run of an older version can be resumed


def test_proof_binds_name_secret_and_key():
    texts = {proof_text(n, s, k) for n in ("a", "b") for s in ("s1", "s2") for k in ("k1", "k2")}
    assert len(texts) == 8
    assert b"s1" not in proof_text("a", "s1", "k")  # the secret itself is not signed over in clear


def test_enrolment_must_be_complete():
    good = {"name": "a", "secret": "x" * 32, "public_key": "k", "proof": "00", "meaning": "quality", "summary": {}}
    Enrolment.model_validate(good)
    for change in ({"name": "A B"}, {"secret": "short"}, {"meaning": "luck"}, {"public_key": "k" * 1001}, {"x": 1}):
        with pytest.raises(ValidationError):
            Enrolment.model_validate(good | change)
