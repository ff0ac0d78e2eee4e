"""Masked rounds: the model is that of the same run without masks, whoever drops out, and whenever the hub is killed."""

import numpy as np
import pytest

from embryofl.clinic_keys import openssh
from embryofl.errors import UserError
from embryofl.invite import HUB_NAME
from embryofl.secagg import clinic as secagg_clinic
from embryofl.secagg.clinic import ClinicSession
from embryofl.secagg.fixed_point import RING
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.masking import attempt as clinic_side
from embryofl_clinic.masking.peers import Peers
from embryofl_server.federation.masking import rounds as module
from embryofl_server.federation.run_settings import check_settings
from kits.enrolment import HUB, key_change
from kits.masked_rounds import EMBRYOS, LEAST, Killed, masked_stages, undisturbed
from kits.policy import write_policy
from kits.rounds import LAYOUT, events, once


@pytest.fixture
def stage(tmp_path, packed, monkeypatch):
    """`stage(clinics, **settings)`: a masked run ready to be executed."""
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.05)
    with masked_stages(tmp_path, packed, monkeypatch) as ready:

        def make(clinics=3, masks="required", **settings):
            values = {"rounds": 2, "min_clinics": 3, "secure_aggregation": masks, "strategy": "fedavg"}
            return ready(list(EMBRYOS)[:clinics], check_settings(values | LEAST | settings).model_dump())

        yield make


def numbers(model):
    return LAYOUT.section_views(np.frombuffer(model, np.uint8))


def assert_equal(masked, plain):
    for one, other in zip(numbers(masked), numbers(plain), strict=True):
        if one.dtype.kind == "f":
            tolerance = 1e-5 if one.dtype.itemsize > 2 else 2e-3  # half precision has three digits
            assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)


def record(stage, number=1):
    return stage.checkpoints.at(number).record


# -- the same model ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"strategy": "fednova"},
        {"strategy": "fednova", "optimiser": "sgd"},
        {"strategy": "fedavgm"},
        {"strategy": "fedadam"},
        {"strategy": "clipped_fedavg", "max_norm": 1.0},
    ],
    ids=str,
)
def test_masked_model_equals_the_unmasked_one(stage, settings):
    plain = stage(masks="off", **settings).go()
    run = stage(**settings)
    assert_equal(run.go(), plain)
    assert record(run)["masking"]["survivors"] == ["anna", "bert", "cleo"]


@pytest.mark.parametrize("strategy", ["fedavg", "fednova"])
@pytest.mark.parametrize("masks", ["required", "off"])
def test_no_clinic_has_more_than_its_part_of_a_round(stage, masks, strategy):
    """Of two of 32 embryos and one of 200, the strategies would make a model that is the one's."""
    models, parts = {}, {}
    for cap in (1.0, 0.5):
        for way in (masks, "off"):
            run = stage(masks=way, strategy=strategy, share_cap=cap, batch_size=512)
            for name, count in {"anna": 32, "bert": 32, "cleo": 200}.items():
                run.fleet.workloads[name].examples = count
                write_policy(run.fleet.state_dir(name), min_examples=1, max_share=1.0, metrics="none")
            models[cap, way] = run.go()
        parts[cap] = {name: clinic["share"] for name, clinic in record(run)["clinics"].items()}
    assert parts[1.0]["cleo"] == pytest.approx(200 / 264, abs=1e-5)
    assert parts[0.5] == pytest.approx({"anna": 0.25, "bert": 0.25, "cleo": 0.5}, abs=1e-5)
    assert_equal(models[0.5, masks], models[0.5, "off"])


def test_clinics_that_wait_at_the_hub_get_all_but_the_first_steps_there_and_make_the_same_bits(stage):
    run = stage(rounds=3)
    run.fleet.mailboxes, run.mailboxes.used = run.mailboxes, True
    assert run.go() == undisturbed(stage, rounds=3)
    assert {round_ for _, round_ in run.fleet.sent} == {1}
    assert all(w.trained == 3 for w in run.fleet.workloads.values())


def test_masked_model_is_the_same_bits_under_other_masks(stage):
    assert stage(clinics=5).go() == stage(clinics=5).go()


def test_hub_stores_no_single_update_and_no_norm_of_one(stage):
    run = stage()
    kept = []
    receive = run.uploads.collect
    run.uploads.collect = lambda path: kept.append((found := receive(path)).path.read_bytes()) or found
    run.go()
    sizes = {len(data) for data in kept}
    assert len(kept) == 6 and sizes == {4 * (LAYOUT.floats + 2)}
    spread = np.frombuffer(kept[0], RING).astype(float) / 2**32
    assert 0.35 < spread.mean() < 0.65 and spread.std() > 0.2  # as of random numbers
    for clinic in record(run)["clinics"].values():
        assert "norm" not in clinic and "distance" not in clinic and 0 < clinic["share"] < 1
    assert not list(run.run.folder.glob("*.masked")) and not list(run.run.folder.glob("*.mean"))


def test_clinics_shares_are_those_of_fednova(stage):
    plain, run = stage(masks="off", strategy="fednova"), stage(strategy="fednova")
    plain.go(), run.go()
    shares = [{n: c["share"] for n, c in record(each)["clinics"].items()} for each in (plain, run)]
    assert shares[1] == pytest.approx(shares[0], abs=1e-5)


def test_noise_is_in_the_mean_as_the_setting_has_it_and_no_other_after_a_hub_was_killed(stage):
    plain, run = stage(rounds=1, seed=1).go(), stage(rounds=1, seed=1, update_noise=0.5)
    run.fleet.fault = once("train", "cleo", what="killed")  # anna has sent hers, and makes it again
    with pytest.raises(Killed):
        run.go()
    pairs = [(a, b) for a, b in zip(numbers(run.go()), numbers(plain), strict=True) if a.dtype.kind == "f"]
    moved = np.concatenate([a.astype(float) - b for a, b in pairs])
    expected = 0.5 * record(run)["masking"]["bound"] * np.sqrt(3 / 2)  # three clinics, two of which have all of it
    assert 0.3 * expected < np.linalg.norm(moved) < 2 * expected


# -- who drops out ----------------------------------------------------------------------------------------------------
def without(stage, names, **settings):
    """The model without masks of a round in which these clinics do not take part."""
    plain = stage(clinics=4, masks="off", rounds=1, **settings)
    plain.fleet.online -= set(names)
    return plain.go()


def test_sum_with_the_update_of_a_clinic_that_was_revoked_meanwhile_is_not_opened(stage):
    run, vectors = stage(clinics=4, rounds=1, quorum=3), []
    receive = run.uploads.collect

    def collect(path):
        vectors.append(path)
        if len(vectors) == 3:  # anna's and bert's are in the sum
            run.store.set_state("bert", "revoked", "its laptop was stolen")
        return receive(path)

    run.uploads.collect = collect
    assert_equal(run.go(), without(stage, ["bert"]))
    assert record(run)["masking"]["survivors"] == ["anna", "cleo", "dora"] and record(run)["masking"]["attempt"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "what", "survivors"),
    [
        ("keys", "gone", "anna cleo dora"),  # before its keys
        ("letters", "gone", "anna cleo dora"),  # before its letters
        ("letters", "restart", "anna cleo dora"),
        ("train", "gone", "anna cleo dora"),  # between letters and upload: its pairwise masks are taken out
        ("train", "restart", "anna cleo dora"),
        ("survivors", "gone", "anna bert cleo dora"),  # after its upload
        ("shares", "gone", "anna bert cleo dora"),
    ],
)
def test_one_of_four_clinics_that_drops_out_costs_no_round(stage, kind, what, survivors):
    run = stage(clinics=4, rounds=1, round_deadline_s=0.5, grace_s=5)
    run.fleet.fault = once(kind, "bert", what=what)
    model = run.go()
    assert record(run)["masking"]["survivors"] == survivors.split()
    assert record(run)["masking"]["attempt"] == 1
    assert_equal(model, without(stage, set(run.fleet.names) - set(survivors.split())))


@pytest.mark.parametrize("kind", ["letters", "train"])
def test_one_of_three_that_restarts_costs_an_attempt_and_nobody_else_trains_again(stage, kind):
    run = stage(rounds=1)
    run.fleet.fault = once(kind, "bert", what="restart")
    assert run.go() == undisturbed(stage, rounds=1)
    assert record(run)["masking"]["attempt"] == 2
    assert [e["attempt"] for e in events(run.run) if e["kind"] == "attempt_failed"] == [1]
    assert [run.fleet.workloads[name].trained for name in run.fleet.names] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["survivors", "shares"])
@pytest.mark.parametrize("who", ["anna", "cleo"])
def test_clinic_of_three_that_restarts_after_its_upload_costs_an_attempt_at_the_same_sum(stage, kind, who):
    run = stage(rounds=2)
    run.fleet.fault = once(kind, who, 1, what="restart")
    assert run.go() == undisturbed(stage, rounds=2)
    assert record(run)["masking"]["attempt"] == 2
    assert [e["attempt"] for e in events(run.run) if e["kind"] == "attempt_failed"] == [1]


@pytest.mark.parametrize("kind", ["survivors", "shares"])
def test_round_without_enough_shares_is_void_and_the_next_one_goes_on(stage, kind):
    run = stage(clinics=4, rounds=2, round_deadline_s=0.4, grace_s=0.2)
    left = {("letters", "dora"), (kind, "cleo")}

    def fault(kind, name, number):
        """Dora is not in the sum and cleo has lost her keys: the same sum cannot be made again."""
        if number == 1 and (kind, name) in left:
            left.remove((kind, name))
            return "restart"
        return None

    run.fleet.fault = fault
    run.go()
    void = record(run, 1)
    assert void["void"].startswith("Round 1: 2 usable replies") and void["clinics"] == {}
    assert void["sha256"] == record(run, 0)["sha256"] != record(run, 2)["sha256"]
    assert any(e["kind"] == "void" and e["round"] == 1 for e in events(run.run))
    assert record(run, 2)["masking"]["survivors"] == void["void_sum"] == ["anna", "bert", "cleo"]
    assert not list(run.run.folder.glob("*.masked"))


def test_run_of_void_rounds_fails_with_the_reason(stage):
    run = stage(rounds=9, round_deadline_s=0.3, grace_s=0.1)
    run.fleet.fault = lambda kind, name, number: "restart" if (kind, name) == ("shares", "cleo") else None
    with pytest.raises(UserError, match="3 rounds in a row are void"):
        run.go()


@pytest.mark.slow
def test_lost_messages_change_nothing(stage):
    for kind in ("keys", "letters", "train", "survivors", "shares"):
        run = stage(rounds=1)
        run.fleet.fault = once(kind, "bert", what="superlink")
        assert run.go() == undisturbed(stage, rounds=1)
        assert record(run)["masking"]["attempt"] == 1


def test_clinic_that_has_not_compared_keys_holds_the_round_until_it_has(stage):
    run = stage(rounds=1)
    policy, asked = run.fleet.state_dir("bert") / "policy.toml", []
    policy.write_text("min_examples = 1\n")

    def fault(kind, name, number):
        if (kind, name) == ("keys", "bert"):
            asked.append(run.progress.snapshot()["phase"])
            if len(asked) == 2:
                policy.write_text('min_examples = 1\npeers = "first"\n')

    run.fleet.fault = fault
    run.go()
    failed = [e for e in events(run.run) if e["kind"] == "attempt_failed"]
    assert len(failed) == 1 and len(asked) == 2
    refused = [e for e in events(run.run) if e["kind"] == "refused"]
    assert "keys of anna, cleo have not been compared" in refused[0]["words"]


@pytest.mark.slow
# -- a hub that is killed ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["keys", "letters", "train", "survivors", "shares"])
@pytest.mark.parametrize("who", ["anna", "cleo"])
def test_hub_killed_in_any_phase_ends_in_the_same_bits(stage, kind, who):
    run = stage(rounds=3)
    run.fleet.fault = once(kind, who, 2, what="killed")
    with pytest.raises(Killed):
        run.go()
    assert bool(list(run.run.folder.glob("round-0002.masked"))) == (kind in ("survivors", "shares"))
    assert run.go() == undisturbed(stage, rounds=3)
    assert not list(run.run.folder.glob("*.masked"))
    assert all(w.trained == 3 for w in run.fleet.workloads.values())


def test_damaged_masked_sum_is_set_aside_and_the_round_begins_again(stage):
    run = stage(rounds=1)
    run.fleet.fault = once("survivors", "anna", what="killed")
    with pytest.raises(Killed):
        run.go()
    path = run.run.folder / "round-0001.masked"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert run.go() == undisturbed(stage, rounds=1)


# -- a hub that lies --------------------------------------------------------------------------------------------------
def changed(request, **parts):
    return request.model_copy(update={"masking": request.masking.model_copy(update=parts)})


class Lies:
    """What a hub tells one clinic, bert, in round 2 and in no other."""

    def __init__(self, lie):
        self.told = lie
        self.old = None  # cleo's advert of round 1

    def __call__(self, request):
        if request.kind == "letters" and request.round == 1:
            self.old = request.masking.roster.advert_of("cleo")
        if request.clinic != "bert" or request.round != 2:
            return request
        return self.told(self, request) or request

    def another_model(self, request):
        model = request.model.model_copy(update={"sha256": "0" * 64})
        return request.model_copy(update={"model": model}) if request.kind == "train" else None

    def other_settings(self, request):
        settings = request.settings.model_copy(update={"learning_rate": 1e-9})
        return request.model_copy(update={"settings": settings}) if request.kind == "keys" else None

    def another_weight(self, request):
        return self.advert(request, weight=10**6) if request.kind == "letters" else None

    def old_advert(self, request):
        return self.advert(request, **self.old.model_dump()) if request.kind == "letters" else None

    def missing_clinic(self, request):
        if request.kind == "letters":
            roster = request.masking.roster
            return changed(request, roster=roster.model_copy(update={"adverts": roster.adverts[:2]}))
        return None

    def letters_of_others(self, request):
        if request.kind == "train":
            letters = request.masking.letters
            return changed(request, letters=letters.model_copy(update={"roster": "0" * 64}))
        return None

    def another_statement(self, request):
        if request.kind == "shares":
            statement = request.masking.statement
            return changed(request, statement=statement.model_copy(update={"survivors": ("anna", "bert")}))
        return None

    def forged_signatures(self, request):
        return changed(request, signatures={"bert": "0" * 16}) if request.kind == "shares" else None

    def swapped_key(self, request):
        if request.kind == "keys":
            return changed(request, peers=request.masking.peers | {"cleo": request.masking.peers["anna"]})
        return None

    @staticmethod
    def advert(request, **fields):
        roster = request.masking.roster
        adverts = tuple(a.model_copy(update=fields) if a.clinic == "cleo" else a for a in roster.adverts)
        return changed(request, roster=roster.model_copy(update={"adverts": adverts}))


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (Lies.another_model, "terms of another model"),
        (Lies.other_settings, "terms of another work"),
        (Lies.another_weight, "cleo has not signed these keys, weight and cells"),
        (Lies.old_advert, "cleo has not signed these keys, weight and cells"),
        (Lies.missing_clinic, "2 clinics in a roster"),
        (Lies.letters_of_others, "letters of roster 0000"),
        (Lies.another_statement, "another statement than this clinic has confirmed"),
        (Lies.forged_signatures, "0 valid confirmations"),
        (Lies.swapped_key, ""),
    ],
)
def test_lie_of_the_hub_is_refused_by_the_clinic_and_no_model_is_made_of_it(stage, lie, words):
    run = stage(rounds=2, round_deadline_s=0.4, grace_s=0.2, join_wait_s=0.5)
    run.fleet.lie = Lies(lie)
    if lie in (Lies.another_statement, Lies.forged_signatures):  # no share, no sum
        run.go()
        assert record(run, 2)["void"]
    else:
        with pytest.raises(UserError):
            run.go()
        assert run.checkpoints.at(2) is None
    if words:
        assert any(name == "bert" and words in refusal for name, refusal in run.fleet.refusals)
    else:
        assert any("changed: cleo" in e.get("words", "") for e in events(run.run))


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
