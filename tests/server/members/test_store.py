"""Membership: an invite makes exactly one clinic, with exactly one key."""

import sqlite3
import time

import pytest

from embryofl.errors import UserError
from embryofl_server.members.invites import EnrolmentRejected
from embryofl_server.members.store import ClinicStore

SUMMARY = {"counts": {"5": {"0": 10, "1": 12}}}


@pytest.fixture
def store(tmp_path):
    opened = ClinicStore(tmp_path / "clinics.db")
    yield opened
    opened.close()


def test_invite_enrols_a_clinic_that_is_kept_across_restarts(store, tmp_path):
    secret = store.invite("anna", days=1)
    clinic = store.enrol("anna", secret, "key-a", "quality", SUMMARY)
    assert (clinic.name, clinic.state, clinic.labelled) == ("anna", "enrolled", 22)
    again = ClinicStore(tmp_path / "clinics.db")
    assert again.clinics()["anna"] == clinic
    again.close()


def test_enrolment_may_be_repeated_with_the_same_key_because_a_response_can_be_lost(store):
    secret = store.invite("anna", days=1)
    first = store.enrol("anna", secret, "key-a", "quality", SUMMARY)
    assert store.enrol("anna", secret, "key-a", "quality", {"other": 1}) == first
    assert len(store.clinics()) == 1


@pytest.mark.parametrize("secret", ["", "wrong", None])
def test_enrolment_needs_the_invites_secret(store, secret):
    store.invite("anna", days=1)
    wanted = store.invite("bert", days=1) if secret is None else secret  # another clinic's secret
    for name in ("anna", "nobody"):
        with pytest.raises(EnrolmentRejected, match="is for bert" if secret is None else "does not recognise"):
            store.enrol(name, wanted, "key-x", "quality", {})
    assert store.clinics() == {}


def test_invite_enrols_one_key_only(store):
    secret = store.invite("anna", days=1)
    store.enrol("anna", secret, "key-a", "quality", SUMMARY)
    with pytest.raises(EnrolmentRejected, match="another key"):
        store.enrol("anna", secret, "key-x", "quality", SUMMARY)
    assert store.clinics()["anna"].public_key == "key-a"


def test_key_belongs_to_one_clinic_only(store):
    store.enrol("anna", store.invite("anna", days=1), "key-a", "quality", SUMMARY)
    with pytest.raises(EnrolmentRejected, match="another clinic"):
        store.enrol("bert", store.invite("bert", days=1), "key-a", "quality", SUMMARY)
    assert set(store.clinics()) == {"anna"}


def test_invite_expires_except_for_the_clinic_that_used_it(store, monkeypatch):
    unused, used = store.invite("anna", days=1), store.invite("bert", days=1)
    store.enrol("bert", used, "key-b", "quality", SUMMARY)
    later = time.time() + 90_000
    monkeypatch.setattr("embryofl_server.members.invites.time.time", lambda: later)
    with pytest.raises(EnrolmentRejected, match="expired"):
        store.enrol("anna", unused, "key-a", "quality", SUMMARY)
    assert store.enrol("bert", used, "key-b", "quality", SUMMARY).name == "bert"


def test_new_invite_replaces_the_old_one_until_the_clinic_is_enrolled(store):
    old, new = store.invite("anna", days=1), store.invite("anna", days=1)
    with pytest.raises(EnrolmentRejected, match="withdrawn: A newer invite was made"):
        store.enrol("anna", old, "key-a", "quality", SUMMARY)
    store.enrol("anna", new, "key-a", "quality", SUMMARY)
    with pytest.raises(UserError, match="already a clinic"):
        store.invite("anna", days=1)


def test_secrets_are_not_kept_and_the_file_is_private(store, tmp_path):
    secret = store.invite("anna", days=1)
    store.enrol("anna", secret, "key-a", "quality", SUMMARY)
    for path in tmp_path.iterdir():
        assert secret.encode() not in path.read_bytes()
    assert (tmp_path / "clinics.db").stat().st_mode & 0o777 == 0o600


def test_failed_enrolment_leaves_the_store_usable(store):
    secret = store.invite("anna", days=1)
    with pytest.raises((sqlite3.Error, TypeError)):
        store.enrol("anna", secret, "key-a", None, SUMMARY)  # type: ignore[arg-type]
    assert store.clinics() == {}
    assert store.enrol("anna", secret, "key-a", "quality", SUMMARY).name == "anna"


# -- suspension ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def two(store):
    for name in ("anna", "bert"):
        store.enrol(name, store.invite(name, days=1), f"key-{name}", "quality", SUMMARY)
    return store


def test_suspended_clinic_keeps_its_key_and_takes_no_part_until_it_is_reinstated(two, tmp_path):
    clinic = two.set_state("anna", "suspended", "because")
    assert (clinic.state, clinic.reason) == ("suspended", "because") and abs(clinic.since - time.time()) < 60
    again = ClinicStore(tmp_path / "clinics.db")
    assert again.admitted() == {"bert"} and set(again.keys()) == {"anna", "bert"}
    again.set_state("anna", "enrolled", "")
    assert again.admitted() == {"anna", "bert"}
    again.close()


def test_unknown_clinic_and_unchanged_state_are_errors_that_name_them(two):
    with pytest.raises(UserError, match="no clinic 'cleo'.*anna, bert"):
        two.set_state("cleo", "suspended", "")
    with pytest.raises(UserError, match="anna is already enrolled"):
        two.set_state("anna", "enrolled", "")


def test_rejections_in_a_row_count_once_a_round_and_end_with_an_accepted_reply(two):
    bad = {"anna": ("norm", "too long")}
    two.record_replies("run-0001", 1, ["bert"], bad)
    two.record_replies("run-0001", 1, ["bert"], bad)  # the round was repeated after a kill
    two.record_replies("run-0001", 2, ["bert"], bad)
    assert (len(two.rejections("anna")), len(two.rejections("bert"))) == (2, 0)
    assert [(r["run"], r["round"], r["reason"], r["words"]) for r in two.rejections("anna")] == [
        ("run-0001", 1, "norm", "too long"),
        ("run-0001", 2, "norm", "too long"),
    ]
    two.record_replies("run-0001", 3, [], {})  # a late or offline clinic: neither accepted nor rejected
    assert len(two.rejections("anna")) == 2
    two.record_replies("run-0002", 1, ["anna"], {})
    assert len(two.rejections("anna")) == 0


def test_reinstating_a_clinic_resets_its_rejections(two):
    two.record_replies("run-0001", 1, [], {"anna": ("norm", "")})
    two.set_state("anna", "suspended", "")
    two.set_state("anna", "enrolled", "")
    assert len(two.rejections("anna")) == 0
