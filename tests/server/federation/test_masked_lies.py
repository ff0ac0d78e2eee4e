"""Masked rounds with a hub that lies, which clinics refuse, and with clinics that lie."""

import pytest

from embryofl.clinic_keys import openssh
from embryofl.errors import UserError
from embryofl.invite import HUB_NAME
from embryofl.secagg import clinic as secagg_clinic
from embryofl.secagg.clinic import ClinicSession
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.masking import attempt as clinic_side
from embryofl_clinic.masking.peers import Peers
from kits.enrolment import HUB, key_change
from kits.masked_lies import LIES, TO_BERT, Lies
from kits.masked_rounds import EMBRYOS, masked_runs, record
from kits.policy import write_policy
from kits.rounds import events, once

pytestmark = pytest.mark.integration


@pytest.fixture
def stage(tmp_path, packed, monkeypatch):
    """See `masked_runs`."""
    with masked_runs(tmp_path, packed, monkeypatch) as make:
        yield make


# -- a hub that lies --------------------------------------------------------------------------------------------------
@pytest.fixture
def told(stage, caplog):
    """`told(lie, round_, **settings)`: a run in which the hub tells this lie, and all that clinics then say of it."""

    def make(lie, round_, **settings):
        run = stage(round_deadline_s=0.4, grace_s=0.2, **settings)
        run.fleet.lie = Lies(lie, round_)

        def said():
            in_replies = [event["words"] for event in events(run.run) if "words" in event]
            return "\n".join([*(words for _, words in run.fleet.refusals), *caplog.messages, *in_replies])

        return run, said

    return make


IN_TWO_ROUNDS = ("old_advert", "another_model", "swapped_key", "another_statement")


@pytest.mark.parametrize("lie", IN_TWO_ROUNDS)
def test_lie_of_the_hub_is_refused_by_the_clinic_and_no_model_is_made_of_it(told, lie):
    run, said = told(lie, 2, rounds=2, join_wait_s=0.5)
    if LIES[lie][0] == "shares":  # no share, no sum
        run.go()
        assert record(run, 2)["void"]
    else:
        with pytest.raises(UserError):
            run.go()
        assert run.checkpoints.at(2) is None
    assert LIES[lie][1] in said()


@pytest.mark.parametrize("lie", [lie for lie in TO_BERT if lie not in IN_TWO_ROUNDS])
def test_lie_to_one_of_four_clinics_is_refused_and_the_others_have_their_round(told, lie):
    run, said = told(lie, 1, clinics=4, rounds=1)
    run.go()
    assert LIES[lie][1] in said()
    assert "void" not in record(run) and {"anna", "dora"} <= {*record(run)["masking"]["survivors"]}


# -- clinics that lie -------------------------------------------------------------------------------------------------
def test_vector_beyond_the_bound_makes_the_round_void(stage, monkeypatch):
    run, real = stage(rounds=1), clinic_side.to_vector

    def far(*args, **slots):
        vector = real(*args, **slots)
        vector[:100] = 2**30
        return vector

    monkeypatch.setattr(clinic_side, "to_vector", far)
    run.go()
    assert "expected at most" in record(run)["void"]


def test_no_more_clinics_have_clipped_than_are_in_the_sum(stage, monkeypatch):
    run, real = stage(rounds=1), clinic_side.to_vector

    def many(*args, **slots):
        vector = real(*args, **slots)
        vector[-2] = 2**20
        return vector

    monkeypatch.setattr(clinic_side, "to_vector", many)
    run.go()
    assert record(run)["masking"]["clipped"] == 3


def lying(monkeypatch, name, method, lie):
    """Dora's step is changed by `lie`; the other clinics' are not."""
    real = getattr(ClinicSession, method)

    def step(session, *args):
        return lie(real(session, *args)) if session.advert.clinic == name else real(session, *args)

    monkeypatch.setattr(ClinicSession, method, step)


def spoiling(recipients):
    """Letters of which these clinics cannot open theirs."""

    def lie(letters):
        spoilt = {n: x.model_copy(update={"sealed": "00" * 60}) for n, x in letters.letters.items() if n in recipients}
        return letters.model_copy(update={"letters": {**letters.letters, **spoilt}})

    return lie


def test_clinic_that_silences_another_is_left_out_with_it_and_neither_is_at_fault(stage, monkeypatch):
    lying(monkeypatch, "cleo", "letters", spoiling(["emil"]))
    run = stage(clinics=5, rounds=1)
    run.fleet.fault = once("train", "anna", what="restart")  # three are left, and so there is another attempt
    run.go()
    assert record(run)["masking"]["survivors"] == ["anna", "bert", "dora"]
    assert record(run)["refused"] == {"emil": "bad_letter"}
    words = [e["words"] for e in events(run.run) if e["kind"] == "refused"]
    assert any("cannot open the letter of cleo" in text for text in words)
    assert not any(run.store.rejections(name) for name in ("cleo", "emil"))


def test_run_of_three_of_which_one_silences_another_names_both(stage, monkeypatch):
    lying(monkeypatch, "cleo", "letters", spoiling(["bert"]))
    with pytest.raises(UserError, match="Left out of this round: bert, cleo"):
        stage(rounds=1).go()


def test_clinic_that_shares_other_seeds_than_it_has_signed_is_named_and_suspended(stage, monkeypatch):
    real = secagg_clinic.split

    def wrong(seed, needed, count):
        return real(bytes(16) if whose == ["dora"] else seed, needed, count)

    whose, letters = [], ClinicSession.letters

    def step(session, roster):
        whose[:] = [session.advert.clinic]
        return letters(session, roster)

    monkeypatch.setattr(ClinicSession, "letters", step)
    monkeypatch.setattr(secagg_clinic, "split", wrong)
    run = stage(clinics=4, rounds=3)
    with pytest.raises(UserError, match="dora made round 1 void.*Start a new run without dora"):
        run.go()
    assert record(run, 1)["refused"] == {"dora": "masking"} and record(run, 1)["void"]
    assert run.store.clinics()["dora"].state == "suspended"
    assert any(e["kind"] == "refused" and e["clinic"] == "dora" for e in events(run.run))


def test_clinic_that_reveals_another_share_than_it_was_given_is_rejected_and_the_others_are_enough(stage, monkeypatch):
    def wrong(shares):
        return shares.model_copy(
            update={"shares": tuple(s.model_copy(update={"value": "00" * 16}) for s in shares.shares)}
        )

    lying(monkeypatch, "dora", "reveal", wrong)
    run = stage(clinics=4, rounds=1)
    run.go()
    assert record(run)["masking"]["survivors"] == ["anna", "bert", "cleo", "dora"]
    assert [(e["clinic"], e["reason"]) for e in events(run.run) if e["kind"] == "refused"] == [("dora", "masking")]


def test_clinic_that_leaves_or_has_a_new_key_after_its_upload_costs_no_round(stage, monkeypatch):
    run = stage(clinics=4, rounds=1)
    keys = run.store.keys
    lines = {}

    def fault(kind, name, number):
        if kind == "survivors":
            lines.update({n: line for n, line in keys().items() if n != "dora"})
            lines["cleo"] = lines["bert"]

    run.fleet.fault = fault
    monkeypatch.setattr(run.store, "keys", lambda: lines or keys())
    run.go()
    assert record(run, 1)["masking"]["survivors"] == ["anna", "bert", "cleo", "dora"]


def test_clinic_that_has_changed_its_key_stays_known_to_the_others(stage):
    run = stage(clinics=4)
    hub = JoinedHub(name="anna", hubs=["localhost:1"], ca="", server_name=HUB_NAME, former=[HUB])
    for name in run.fleet.names:
        ClinicIdentity(run.fleet.state_dir(name) / "identity").remember(hub)

    def change_key(kind, name, number):
        identity = ClinicIdentity(run.fleet.state_dir("cleo") / "identity")
        if kind == "shares" and not run.store.key_changes(["cleo"]):
            new = identity.next_key()
            change = key_change(identity.key, new, "cleo")
            run.store.change_key("cleo", identity.public_key, openssh(new), change)
            identity.adopt_next()
            run.fleet.handlers["cleo"] = run.fleet.start("cleo")

    run.fleet.fault = change_key
    run.go()
    assert record(run, 2)["masking"]["survivors"] == ["anna", "bert", "cleo", "dora"]
    assert Peers(run.fleet.state_dir("anna")).read()["cleo"].key == run.fleet.key("cleo")
    assert not [e for e in events(run.run) if e["kind"] == "attempt_failed"]


def test_clinic_that_would_be_most_of_a_sum_ends_a_run_of_three_with_the_reason_and_one_of_five_goes_on_without_it(
    stage,
):
    for clinics, share in ((3, 0.7), (5, 0.5)):
        run = stage(clinics=clinics, rounds=1)
        write_policy(run.fleet.state_dir("cleo"), min_examples=1, metrics="own", max_share=share)
        if clinics == 3:
            with pytest.raises(
                UserError, match=r"cleo would be 76% of a sum over 3 clinics.*at most 70% \(max_share\)"
            ):
                run.go()
        else:
            run.go()
            assert record(run)["masking"]["survivors"] == ["anna", "bert", "dora", "emil"]
            assert record(run)["refused"] == {"cleo": "clinic_refused"}


def test_weight_that_is_not_the_one_of_its_embryos_is_rejected(stage, monkeypatch):
    run = stage(clinics=4, rounds=1)
    monkeypatch.setattr(clinic_side, "sum_weight", lambda settings, examples: examples + (examples == EMBRYOS["bert"]))
    run.go()
    assert record(run)["masking"]["survivors"] == ["anna", "cleo", "dora"]
    assert record(run)["refused"] == {"bert": "masking"}
