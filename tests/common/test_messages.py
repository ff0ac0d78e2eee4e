"""Messages are strict: neither side acts on a message that it only partly understands."""

import itertools
import json

import pytest
from pydantic import ValidationError

from embryofl.membership import MAX_CHANGES, Enrolment, proof_text
from embryofl.messages import Reply, Request, round_seed
from embryofl.protocol import PROTOCOL
from embryofl.secagg.messages import Terms
from embryofl.settings import RunSettings
from kits.enrolment import SUMMARY

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


WITH_MASKS = {"masked_weights": "examples", "secure_aggregation": "required"}


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (WITH_MASKS | {"control": "steps"}, {}),
        (WITH_MASKS | {"personal": "norms"}, {}),
        (WITH_MASKS | {"task_weights": "losses"}, {}),
        (WITH_MASKS, {"control": request()["model"]}),
        ({"secure_aggregation": "required"}, {}),
    ],
    ids=str,
)
def test_masks_with_what_only_one_clinic_knows_and_required_masks_left_out_are_rejected(settings, changes):
    kept = {"kind": "evaluate", "upload_url": ""}  # also where nothing is masked in this request
    Request.model_validate(request(settings=RunSettings(**WITH_MASKS).model_dump(), **kept))
    with pytest.raises(ValidationError, match="masks with|required without"):
        Request.model_validate(request(settings=RunSettings(**settings).model_dump(), **kept | changes))


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
    good = {"name": "a", "secret": "x" * 32, "public_key": "k", "proof": "00", "meaning": "quality", "summary": SUMMARY}
    good["program"] = {"version": "0.1.0", "protocol": PROTOCOL}
    Enrolment.model_validate(good)
    for change in ({"name": "A B"}, {"secret": "short"}, {"meaning": "luck"}, {"public_key": "k" * 1001}, {"x": 1}):
        with pytest.raises(ValidationError):
            Enrolment.model_validate(good | change)


MASKED = {"settings": RunSettings(masked_weights="examples").model_dump(), "upload_url": ""}
STATEMENT = {"roster": SHA, "sharers": ["a", "b", "c"], "survivors": ["a", "b", "c"]}
LETTERS = {"roster": SHA, "letters": {}}


def test_changes_of_keys_go_with_keys_and_with_nothing_else():
    terms = Terms(
        run="run-0001", round=2, kind="train", attempt=1, model=SHA, work=SHA, length=1, bound=1.0
    ).model_dump()
    change = {"name": "a", "authority": SHA, "asked": 1.5, "public_key": "k", "proof": "00", "new_proof": "00"}
    for changes in ({}, {"a": [change] * MAX_CHANGES}):
        body = request(kind="keys", masking={"terms": terms, "peers": {"a": "k"}, "changes": changes}, **MASKED)
        sent = Request.model_validate_json(json.dumps(body))
        assert Request.model_validate_json(sent.model_dump_json()) == sent
    for wrong in (
        {"kind": "train", "masking": {"letters": LETTERS, "changes": {"a": [change]}}},
        {"masking": {"terms": terms, "changes": {"a": [change]}}},
        {"masking": body["masking"] | {"changes": {"a": [change] * (MAX_CHANGES + 1)}}},
    ):
        with pytest.raises(ValidationError):
            Request.model_validate_json(json.dumps(body | wrong))


@pytest.mark.parametrize(
    ("kind", "masking"),
    [
        ("train", {"letters": LETTERS}),
        ("survivors", {"statement": STATEMENT}),
        ("shares", {"statement": STATEMENT, "signatures": {"a": "0" * 16}}),
        ("evaluate", None),
    ],
)
def test_request_of_a_masked_run_carries_exactly_the_parts_of_its_kind(kind, masking):
    body = request(kind=kind, masking=masking, **MASKED)
    sent = Request.model_validate_json(json.dumps(body))
    assert Request.model_validate_json(sent.model_dump_json()) == sent
    for other in ("train", "survivors", "shares", "keys", "letters", "validate"):
        if other != kind and not (masking is None and other == "validate"):
            with pytest.raises(ValidationError):
                Request.model_validate_json(json.dumps(body | {"kind": other}))
    if kind == "train":
        with pytest.raises(ValidationError):  # in a run without masks
            Request.model_validate_json(json.dumps(body | {"settings": RunSettings().model_dump()}))


def test_metrics_are_masked_in_any_run():
    for settings in (RunSettings(), RunSettings(masked_weights="examples")):
        body = request(kind="evaluate", masking={"letters": LETTERS}, settings=settings.model_dump())
        sent = Request.model_validate_json(json.dumps(body))
        assert sent.work == "evaluate" and Request.model_validate_json(sent.model_dump_json()) == sent
        for wrong in ({"kind": "validate"}, {"masking": {"statement": STATEMENT}}, {"kind": "letters"}):
            with pytest.raises(ValidationError):
                Request.model_validate_json(json.dumps(body | wrong))


def test_update_in_the_clear_cannot_be_asked_for_in_a_masked_run():
    with pytest.raises(ValidationError, match="train with masking"):
        Request.model_validate_json(json.dumps(request(**MASKED)))


@pytest.mark.parametrize("extra", [{"train_loss": 0.5}, {"examples": 5}, {"validation": {"x": 1}}, {"device": "cpu"}])
def test_reply_to_a_step_of_secure_aggregation_carries_nothing_else(extra):
    body = reply(kind="survivors", masking={"confirmation": "0" * 16})
    Reply.model_validate_json(json.dumps(body))
    with pytest.raises(ValidationError, match="expected none of these"):
        Reply.model_validate_json(json.dumps(body | extra))


@pytest.mark.parametrize("masking", [None, {}, {"shares": {"roster": SHA, "shares": []}}])
def test_reply_to_a_step_of_secure_aggregation_has_its_part_unless_blocked(masking):
    body = reply(kind="survivors", masking=masking)
    with pytest.raises(ValidationError, match="expected .'confirmation'"):
        Reply.model_validate_json(json.dumps(body))
    Reply.model_validate_json(json.dumps(reply(kind="survivors", refused="not today")))
