"""Membership from the invite to the revocation, without a SuperLink."""

import time
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from embryofl.clinic_keys import canonical, fingerprint, gateway_digest, openssh, sign
from embryofl.errors import UserError
from embryofl.membership import MAX_CHANGES, proof_text
from embryofl_server.api.status import status
from embryofl_server.members.invites import EnrolmentRejected
from embryofl_server.members.limits import CHOICES, KEY_CHANGES
from kits.enrolment import ask_status, audit, enrolment, join, key_change, key_change_at, leaving


def lines_of(hub) -> list[str]:
    return (hub.settings.state_dir / "audit.jsonl").read_text().splitlines()


# -- revocation ---------------------------------------------------------------------------------------------------------
def test_revoked_key_never_works_again_even_after_a_restart_or_with_a_new_invite(make_hub, key):
    hub = make_hub()
    join(hub, "anna", key)
    join(hub, "bert")
    hub.membership.revoke("anna", "its laptop was stolen", by="me")
    for restart in (False, True):
        again = make_hub() if restart else hub
        assert set(again.store.keys()) == {"bert"} and again.store.admitted() == {"bert"}
        for name in ("anna", "cleo"):
            with pytest.raises(EnrolmentRejected, match=r"never works again.*its laptop was stolen"):
                join(again, name, key)
        with pytest.raises(UserError, match="never works again"):
            again.membership.reinstate("anna", by="me")
    assert audit(again, "revoked")[0]["by"] == "me" and audit(again, "revoked")[0]["key"] == fingerprint(openssh(key))


def test_gateway_lets_through_who_is_enrolled_and_hears_who_was(make_hub, key):
    new, waiting = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    hub = make_hub(approval="manual")
    folder = hub.identity.gateway / "clinics"

    def passes(*keys) -> list[str]:
        kinds = [{p.suffix for p in folder.glob(f"{gateway_digest(openssh(k))}.*")} for k in keys]
        return ["member" if k == {".known", ".member"} else "known" if k == {".known"} else "nothing" for k in kinds]

    join(hub, "anna", key)
    join(hub, "bert", waiting)
    assert passes(key, waiting, new) == ["known", "known", "nothing"]
    hub.membership.approve("anna", "me")
    hub.membership.decline("bert", "unknown", "me")
    assert passes(key, waiting) == ["member", "known"]
    hub.membership.suspend("anna", "a test", "me")
    hub.membership.change_key(key_change_at(hub, key, new))
    assert passes(key, new) == ["known", "member"]
    hub.membership.revoke("anna", "a test", "me")
    assert passes(key, new, waiting) == ["known", "known", "known"]
    (folder / "left-behind.member").touch()  # as by a backup that was restored
    make_hub().key_sync.admit()
    assert passes(key, new, waiting) == ["known", "known", "known"] and len(list(folder.iterdir())) == 3


def respelt(line: str) -> list[str]:
    """Other spellings that are read as the same public key."""
    kind, blob = line.split()[:2]
    spellings = [f"{kind} {blob}=", f"{kind} {blob} anna@home", f"{kind} {blob[:40]}*{blob[40:]}", f"{kind} {blob}!!"]
    return [x for x in spellings if canonical(x) == canonical(line)]


def test_revoked_key_is_rejected_in_any_spelling(hub, key):
    join(hub, "anna", key)
    hub.membership.revoke("anna", "A test", "tester")
    spellings = respelt(openssh(key))
    assert len(spellings) > 1
    for line in spellings:
        secret = hub.membership.invite("anna").secret
        proof = sign(key, proof_text("anna", secret, line))
        with pytest.raises(EnrolmentRejected, match="never works again"):
            hub.membership.enrol(enrolment("anna", secret, key, public_key=line, proof=proof))


def test_retired_key_is_never_sent_to_the_superlink_even_if_its_clinic_is_enrolled(hub, key):
    join(hub, "anna", key)
    hub.membership.revoke("anna", "A test", "tester")
    hub.store.change("UPDATE clinics SET state = 'enrolled'")  # the result of a lost race
    assert hub.store.keys() == {}


def test_second_of_two_simultaneous_key_changes_is_rejected(hub, key):
    join(hub, "anna", key)
    before, change = hub.store.clinic("anna").public_key, key_change_at(hub, key, key)
    hub.store.change_key("anna", before, "ecdsa-sha2-nistp384 AAAA", change)
    with pytest.raises(EnrolmentRejected):
        hub.store.change_key("anna", before, "ecdsa-sha2-nistp384 BBBB", change)
    assert hub.store.clinic("anna").public_key == "ecdsa-sha2-nistp384 AAAA"


@pytest.mark.parametrize(
    "value", ["\ud800", 10**400, float("inf"), {"5": {"0": 10**12}}], ids=["text", "huge", "inf", "deep"]
)
def test_summary_that_could_not_be_shown_is_rejected(value):
    with pytest.raises(ValidationError):
        enrolment("anna", "s" * 40, summary={"patients": value})


def test_keys_reach_the_superlink_even_if_the_audit_log_cannot_be_written(make_hub, key, monkeypatch):
    hub, sent = make_hub(), []
    monkeypatch.setattr(hub.key_sync, "admit", lambda: sent.append(set(hub.store.keys())))
    join(hub, "anna", key)

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(hub.audit, "write", full)
    with pytest.raises(OSError, match="no space"):
        hub.membership.revoke("anna", "A test", "tester")
    assert sent[-1] == set()


def test_revoked_clinic_may_rejoin_with_a_new_key_while_its_old_key_stays_retired(hub, key):
    join(hub, "anna", key)
    hub.membership.revoke("anna", "its laptop was stolen", by="me")
    new = ec.generate_private_key(ec.SECP384R1())
    assert join(hub, "anna", new)["state"] == "enrolled"
    assert list(hub.store.keys().values()) == [openssh(new)]
    assert hub.membership.status(ask_status(new, "anna")).state == "enrolled"
    status_ = hub.membership.status(ask_status(key, "anna"))
    assert (status_.state, status_.reason) == ("revoked", "its laptop was stolen")
    with pytest.raises(EnrolmentRejected, match="never works again"):
        join(hub, "dora", key)


def test_revoked_clinic_learns_the_reason_from_its_status_and_no_other_key_does(hub, key):
    join(hub, "anna", key)
    hub.membership.revoke("anna", "its laptop was stolen", by="me")
    assert hub.membership.status(ask_status(key, "anna")).reason == "its laptop was stolen"
    with pytest.raises(EnrolmentRejected, match="does not recognise"):
        hub.membership.status(ask_status(ec.generate_private_key(ec.SECP384R1()), "anna"))
    with pytest.raises(UserError, match="already revoked"):
        hub.membership.revoke("anna", "", by="me")


# -- leaving ------------------------------------------------------------------------------------------------------------
def test_clinic_leaves_only_by_its_own_fresh_signature(hub, key, monkeypatch):
    monkeypatch.setattr("embryofl_server.members.membership.time.time", lambda: 1e6)
    join(hub, "anna", key)
    other = ec.generate_private_key(ec.SECP384R1())
    forged = leaving(key, "anna", 1e6).model_copy(update={"asked": 1e6 + 1})
    for wrong in (leaving(other, "anna", 1e6), leaving(key, "bert", 1e6), leaving(key, "anna", 1e6 - 1000), forged):
        with pytest.raises(EnrolmentRejected):
            hub.membership.leave(wrong)
    assert set(hub.store.keys()) == {"anna"}
    hub.membership.leave(leaving(key, "anna", 1e6))
    assert hub.store.keys() == {} and hub.store.clinics()["anna"].state == "left" and len(audit(hub, "left")) == 1
    with pytest.raises(EnrolmentRejected, match="already left"):
        hub.membership.leave(leaving(key, "anna", 1e6))


# -- a new key ----------------------------------------------------------------------------------------------------------
def test_key_change_needs_both_keys_and_retires_the_old_one(hub, key):
    join(hub, "anna", key)
    join(hub, "bert", other := ec.generate_private_key(ec.SECP384R1()))
    new, thief = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    replayed = key_change_at(hub, key, thief).model_copy(update={"public_key": openssh(new)})
    for wrong in (
        key_change_at(hub, thief, new),
        key_change_at(hub, other, new),
        key_change_at(hub, key, new, proof="00"),
        key_change_at(hub, key, new, new_proof="00"),
        key_change_at(hub, key, new, "bert"),
        key_change_at(hub, key, new, asked=1.0),
        key_change_at(hub, key, other),
        key_change(key, new),  # signed for another hub
        key_change(key, new).model_copy(update={"authority": key_change_at(hub, key, new).authority}),
        replayed,
    ):
        with pytest.raises(EnrolmentRejected):
            hub.membership.change_key(wrong)
    assert hub.store.keys() == {"anna": openssh(key), "bert": openssh(other)}
    for _ in range(2):  # repeated after a lost response
        hub.membership.change_key(key_change_at(hub, key, new))
    assert hub.store.keys() == {"anna": openssh(new), "bert": openssh(other)} and len(audit(hub, "key_changed")) == 1
    assert hub.membership.status(ask_status(new, "anna")).state == "enrolled"
    assert hub.membership.status(ask_status(key, "anna")).state == "replaced"
    for back in (key_change_at(hub, new, key), key_change_at(hub, key, thief)):
        with pytest.raises(EnrolmentRejected):
            hub.membership.change_key(back)
    with pytest.raises(EnrolmentRejected, match="never works again"):
        join(hub, "cleo", key)


def test_changes_of_keys_are_kept_for_other_clinics_under_the_clinics_present_name(hub, key, make_hub):
    join(hub, "anna", key)
    keys = [key, *(ec.generate_private_key(ec.SECP384R1()) for _ in range(MAX_CHANGES + 1))]
    changes = [key_change_at(hub, *pair) for pair in pairwise(keys)]
    for change in changes[:2]:
        hub.membership.change_key(change)
    assert hub.store.key_changes(["anna", "bert"]) == {"anna": changes[:2]} and hub.store.key_changes(["bert"]) == {}
    hub.rename("anna", "lisbon", by="me")
    again = make_hub()
    for change in changes[2:]:
        again.membership.change_key(change)
    assert again.store.key_changes(["lisbon"]) == {"lisbon": changes[-MAX_CHANGES:]}


def test_suspended_clinic_stays_suspended_with_a_new_key_and_revoked_clinic_gets_none(hub, key):
    join(hub, "anna", key)
    hub.membership.suspend("anna", "because", by="me")
    new, newer = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    hub.membership.change_key(key_change_at(hub, key, new))
    assert hub.store.clinics()["anna"].state == "suspended"
    hub.membership.revoke("anna", "over", by="me")
    with pytest.raises(EnrolmentRejected):
        hub.membership.change_key(key_change_at(hub, new, newer))


# -- names --------------------------------------------------------------------------------------------------------------
def test_renamed_clinic_keeps_its_key_and_learns_its_new_name_from_its_status(hub, key):
    join(hub, "anna", key)
    hub.rename("anna", "lisbon", by="me")
    assert hub.store.keys() == {"lisbon": openssh(key)}
    for asked_as in ("anna", "lisbon"):
        assert hub.membership.status(ask_status(key, asked_as)).name == "lisbon"
    hub.rename("lisbon", "porto", by="me")
    assert hub.membership.status(ask_status(key, "anna")).name == "porto"
    for taken in ("anna", "lisbon", "porto"):
        with pytest.raises(UserError):
            hub.membership.invite(taken)
    with pytest.raises(UserError, match="cannot be a clinic's name"):
        hub.rename("porto", "../x", by="me")
    join(hub, "bert")
    for taken in ("porto", "anna", "bert"):
        with pytest.raises(UserError, match="is or was"):
            hub.rename("bert", taken, by="me")


def test_clinic_whose_membership_has_ended_is_not_renamed(hub, key):
    join(hub, "anna", key)
    hub.membership.revoke("anna", "A test", "tester")
    with pytest.raises(UserError, match="revoked"):
        hub.membership.rename("anna", "berta", "tester")


def test_clinic_is_not_renamed_during_a_run(hub, key, packed, tmp_path):
    join(hub, "anna", key)
    packed(0).tofile(tmp_path / "x.safetensors")
    run = hub.conductor.queue({}, str(tmp_path / "x.safetensors"))
    with pytest.raises(UserError, match="run-0001 is under way"):
        hub.rename("anna", "lisbon", by="me")
    run.set_state("finished", 1)
    hub.rename("anna", "lisbon", by="me")


# -- approval -----------------------------------------------------------------------------------------------------------
def test_with_manual_approval_a_clinic_waits_until_it_is_approved_and_the_status_lists_it(make_hub, key):
    hub = make_hub(approval="manual")
    secret = hub.membership.invite("anna").secret
    for _ in range(2):  # asking again is harmless
        assert join(hub, "anna", key, secret)["state"] == "waiting"
    assert hub.store.keys() == {} and hub.store.admitted() == set()
    shown = status(hub, hub.overview.now())
    assert shown["to_approve"] == ["anna"] and shown["clinics"] == {}
    assert hub.membership.status(ask_status(key, "anna")).state == "waiting"
    hub.membership.approve("anna", by="me")
    assert join(hub, "anna", key, secret)["state"] == "enrolled" and set(hub.store.keys()) == {"anna"}
    assert status(hub, hub.overview.now())["to_approve"] == [] and audit(hub, "enrolled")[0]["by"] == "me"
    with pytest.raises(UserError, match="not awaiting approval"):
        hub.membership.approve("anna", by="me")


def test_approval_confirms_the_number_of_images_and_the_log_has_it(make_hub, key):
    """The clinic claims two billion, which would make it the whole federation."""
    hub = make_hub(approval="manual")
    claimed = {"counts": {"5": {"0": 10**9, "1": 10**9}}, "approved": 10**9}
    join(hub, "anna", key=key, summary=claimed)
    assert hub.store.clinic("anna").approved is None
    hub.membership.approve("anna", by="me", images=100)
    assert hub.store.clinic("anna").approved == 100 and hub.store.clinic("anna").most_embryos == 120
    assert audit(hub, "enrolled")[0]["approved"] == 100
    hub.membership.approve("anna", by="me", images=300)  # its data has grown
    (line,) = audit(hub, "images_approved")
    assert (line["approved"], line["before"], line["by"]) == (300, 100, "me")
    hub = make_hub(approval="manual")  # after a restart
    assert hub.store.clinic("anna").most_embryos == 360 and hub.store.clinic("anna").state == "enrolled"
    hub.membership.revoke("anna", "A test", by="me")
    with pytest.raises(UserError, match="never works again"):
        hub.membership.approve("anna", by="me", images=300)


def test_approval_without_a_number_takes_what_was_reported(make_hub, key):
    hub = make_hub(approval="manual")
    join(hub, "anna", key)
    reported = hub.store.clinic("anna").labelled
    assert hub.membership.approve("anna", by="me").approved == reported
    by_itself = make_hub(approval="auto")
    join(by_itself, "bert")
    assert by_itself.store.clinic("bert").approved == by_itself.store.clinic("bert").labelled > 0


REACHED = ({"hostnames": "hub.example.org,localhost"}, {"hostnames": "192.0.2.7"}, {"tunnel_file": "tunnel.json"})


@pytest.mark.parametrize("settings", REACHED, ids=str)
def test_hub_that_other_machines_can_reach_approves_by_hand_except_its_own_clinics(make_hub, key, settings):
    hub = make_hub(**settings)
    assert join(hub, "anna", key)["state"] == "waiting" and hub.store.keys() == {}
    assert join(hub, "bert", secret=hub.membership.invite("bert", local=True).secret)["state"] == "enrolled"
    hub.membership.revoke("bert", "a test", by="me")
    assert join(hub, "bert")["state"] == "waiting"  # invited again, for another machine


@pytest.mark.parametrize("settings", [{}, {"hostnames": "localhost,127.0.0.1,gateway:8443"}], ids=str)
def test_hub_of_one_machine_needs_no_approval(make_hub, key, settings):
    assert join(make_hub(**settings), "anna", key)["state"] == "enrolled"


def test_declined_clinic_learns_why_and_its_key_cannot_ask_again(make_hub, key):
    hub = make_hub(approval="manual")
    join(hub, "anna", key)
    hub.membership.decline("anna", "we do not know you", by="me")
    status_ = hub.membership.status(ask_status(key, "anna"))
    assert (status_.state, status_.reason) == ("refused", "we do not know you")
    with pytest.raises(EnrolmentRejected, match="we do not know you"):
        join(hub, "anna", key)
    assert hub.store.keys() == {}


# -- a key in two places ------------------------------------------------------------------------------------------------
def test_key_used_in_two_places_is_reported_and_a_restart_is_not(hub, key):
    join(hub, "anna", key)
    other = ec.generate_private_key(ec.SECP384R1())
    join(hub, "bert", other)

    def ask(session, address, key=key, name="anna"):
        hub.membership.status(ask_status(key, name, session=session * 16), address)
        return hub.membership.sessions.twice()

    assert ask("a", "10.0.0.1") == ask("a", "10.0.0.1") == {}
    assert ask("b", "10.0.0.1") == ask("b", "10.0.0.1") == {}  # started again
    assert ask("c", "203.0.113.9") == ask("d", "10.0.0.1", other, "bert") == {}
    hub.membership.status(ask_status(key, "anna"))  # a command's request has no session
    assert set(ask("b", "10.0.0.1")) == {"anna"}
    for _ in range(3):
        assert set(ask("c", "203.0.113.9")["anna"]) == {"10.0.0.1", "203.0.113.9"} and ask("b", "10.0.0.1")
    (line,) = audit(hub, "key_used_twice")
    assert (line["clinic"], line["where"]) == ("anna", "10.0.0.1 and 203.0.113.9")
    clinics = status(hub, hub.overview.now())["clinics"]
    assert "used in two places" in clinics["anna"]["detail"] and clinics["bert"]["detail"] == ""


# -- limits on members --------------------------------------------------------------------------------------------------
def test_member_cannot_fill_the_audit_log_and_its_refusal_still_counts(hub, key):
    join(hub, "anna", key)
    before = len(lines_of(hub))
    for toggle in range(100):
        hub.membership.status(ask_status(key, "anna", time.time(), shows=toggle % 2 == 0))
        hub.membership.status(ask_status(key, "anna", time.time(), metrics=("own", "pooled")[toggle % 2]))
    assert len(lines_of(hub)) - before <= 2 * CHOICES.most + 1  # it begins with `own`
    clinic = hub.store.clinic("anna")
    assert not clinic.shows_metrics and clinic.metrics == "pooled"
    for number in range(KEY_CHANGES.most + 5):
        old, key = key, ec.generate_private_key(ec.SECP384R1())
        if number < KEY_CHANGES.most:
            hub.membership.change_key(key_change_at(hub, old, key))
        else:
            with pytest.raises(EnrolmentRejected, match="changed its key 10 times"):
                hub.membership.change_key(key_change_at(hub, old, key))
            key = old
    assert len(audit(hub, "key_changed")) == KEY_CHANGES.most
    hub.membership.leave(leaving(key, "anna"))
    assert hub.store.clinic("anna").state == "left"


def test_session_cannot_be_forged(hub, key):
    join(hub, "anna", key)
    request = ask_status(key, "anna", session="a" * 16)
    with pytest.raises(EnrolmentRejected):
        hub.membership.status(request.model_copy(update={"session": "b" * 16}))
