"""A trainer in a masked round: what it sends, and what it refuses to a hub that does not follow the protocol."""

import logging
import math
import re
import threading

import numpy as np
import pytest

from embryofl.clinic_keys import fingerprint, openssh
from embryofl.invite import HUB_NAME
from embryofl.masked_update import sum_weight, update_bound
from embryofl.messages import MaskingRequest, Reply
from embryofl.secagg.clinic import ClinicSession
from embryofl.secagg.hub import HubSession
from embryofl.secagg.messages import Terms, digest
from embryofl.secagg.unmasking import Unmasking
from embryofl.settings import RunSettings
from embryofl.wire import Layout
from embryofl_clinic.joining.client import HubClient
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.link.fleet_link import Incoming
from embryofl_clinic.masking.peers import FILE, Peers
from embryofl_clinic.policy.rules import last_block
from embryofl_clinic.trainer import Trainer
from kits.enrolment import HUB, key_change
from kits.policy import write_policy
from kits.secagg import new_ledger, revised

SETTINGS = RunSettings(masked_weights="examples")
LAYOUT = Layout.of({"w": ("F32", (4,))})  # as in conftest.py
TERMS = Terms(
    run="run-0001",
    round=1,
    kind="train",
    attempt=1,
    model="a" * 64,
    work=digest(SETTINGS),
    length=6,
    bound=update_bound(SETTINGS, 1, LAYOUT, math.inf),
)
ASKED = {"terms": "keys", "roster": "letters", "letters": "train", "signatures": "shares", "statement": "survivors"}


@pytest.fixture
def round_(clinic, make_request, tmp_path, caplog):
    return MaskedRound(clinic(), make_request, tmp_path, caplog)


class MaskedRound:
    """Anna's trainer, two other clinics, and a hub that does what a test says."""

    def __init__(self, anna, make_request, folder, caplog):
        self.anna, self.make_request, self.log = anna, make_request, caplog
        self.identities = {name: ClinicIdentity(folder / name) for name in ("bert", "cleo")}
        self.identities["anna"] = ClinicIdentity(anna.settings.identity_dir)
        self.lines = {name: identity.public_key for name, identity in self.identities.items()}
        self.policy(peers="first")
        self.settings = SETTINGS
        self.hub = self.new_hub()

    def policy(self, **rules):
        write_policy(self.anna.settings.state_dir, **rules)

    def new_hub(self, **terms):
        self.terms = revised(TERMS, **terms)
        self.keys = dict(self.lines)
        self.others = {
            name: ClinicSession(self.terms, name, 50, self.identities[name].sign, self.keys, new_ledger())
            for name in ("bert", "cleo")
        }
        return HubSession(self.terms, self.keys)

    def ask(self, changes=None, **parts):
        """Anna's reply to a request with these parts; None if she reports a failure."""
        kind = next(kind for part, kind in ASKED.items() if part in parts)
        body = {"kind": kind, "settings": self.settings, "masking": MaskingRequest(**parts)}
        if kind != "train":
            body["upload_url"] = ""
        failures = len(self.anna.link.failures)
        self.anna.receive(self.make_request(**(body | (changes or {}))))
        if len(self.anna.link.failures) > failures:
            return None
        return Reply.model_validate_json(self.anna.link.replies[-1])

    def ask_keys(self, **changes):
        return self.ask(changes=changes, terms=self.terms, peers=self.lines)

    def until_letters(self):
        self.hub.take_advert(self.ask_keys().masking.advert)
        for session in self.others.values():
            self.hub.take_advert(session.advert)
        self.roster = self.hub.close_roster()
        self.hub.take_letters("anna", self.ask(roster=self.roster).masking.letters)
        for name, session in self.others.items():
            self.hub.take_letters(name, session.letters(self.roster))
        self.hub.close_letters()

    def vector(self):
        """What anna has uploaded."""
        return np.frombuffer(self.anna.transfers.uploads[-1][1], np.uint32)

    def until_statement(self):
        self.until_letters()
        self.ask(letters=self.hub.letters_for("anna"))
        self.hub.take_masked("anna", self.vector())
        for name, session in self.others.items():
            self.hub.take_masked(name, session.mask(np.zeros(6, np.uint32), self.hub.letters_for(name)))
        self.unmasking = Unmasking(self.hub.close_sum(), self.hub.masked_sum, self.keys)
        return self.unmasking.statement

    def refused(self, words):
        """Whether anna has sent nothing, and her log says why."""
        assert self.anna.link.failures[-1] in ("ProtocolError", "TooFewClinicsError")
        errors = [r.getMessage() for r in self.log.records if r.levelno == logging.ERROR]
        return words in errors[-1] and "Nothing was sent" in errors[-1]


def test_hub_gets_the_sum_and_an_upload_that_looks_random(round_):
    statement = round_.until_statement()
    assert round_.vector().size == 6 and (np.abs(round_.vector().view("<i4").astype(float)) > 2**16).sum() >= 4
    signature = round_.ask(statement=statement).masking.confirmation
    round_.unmasking.take_confirmation("anna", signature)
    for name, session in round_.others.items():
        round_.unmasking.take_confirmation(name, session.confirm(statement))
    signatures = round_.unmasking.confirmations()
    round_.unmasking.take_shares("anna", round_.ask(statement=statement, signatures=signatures).masking.shares)
    for name, session in round_.others.items():
        round_.unmasking.take_shares(name, session.reveal(statement, signatures))
    total = round_.unmasking.total().view("<i4") * (TERMS.bound / 2**30) * 3  # anna's share is a third
    assert np.allclose(total[:4], total[0], atol=1e-5) and total[0] > 0  # her model is one number, the others' are 0


class Hub:
    """Sends anna the requests of a round one after the other, as soon as it has the replies."""

    def __init__(self, round_):
        self.round, self.replies, self.failures = round_, [], []
        self.sent, self.replied = 0, threading.Event()

    def receive(self):
        r, done = self.round, len(self.replies) + len(self.failures)
        if done < self.sent:
            return None
        self.sent += 1
        if done == 0:
            return self.request("keys", terms=r.terms, peers=r.lines)
        if done == 1:
            r.hub.take_advert(self.reply().masking.advert)
            for session in r.others.values():
                r.hub.take_advert(session.advert)
            return self.request("letters", roster=r.hub.close_roster())
        if done == 2:
            r.hub.take_letters("anna", self.reply().masking.letters)
            for name, session in r.others.items():
                r.hub.take_letters(name, session.letters(r.hub.close_roster()))
            r.hub.close_letters()
            self.replied.set()
            return self.request("train", letters=r.hub.letters_for("anna"))
        r.anna.stop.set()
        return None

    def request(self, kind, **parts):
        body = {"kind": kind, "settings": SETTINGS, "masking": MaskingRequest(**parts)}
        if kind != "train":
            body["upload_url"] = ""
        return Incoming(self.round.make_request(**body).model_dump_json(), None)

    def reply(self, incoming=None, text="", seconds=0.0):
        """The newest reply; keeps one that is given."""
        if incoming is not None:
            self.replies.append(text)
        return Reply.model_validate_json(self.replies[-1])

    def report_failure(self, incoming, kind, seconds):
        self.failures.append(kind)


@pytest.fixture
def silent(monkeypatch):
    """No status requests."""
    monkeypatch.setattr(HubClient, "ask_status", lambda *_: None)


def test_letters_are_exchanged_while_the_clinic_trains(round_, silent):
    hub, train = Hub(round_), round_.anna.workload.train
    round_.anna.workload.train = lambda *args: hub.replied.wait(20) and train(*args)
    round_.anna.trainer._serve(hub, round_.anna.transfers)
    assert hub.replied.is_set() and hub.failures == []
    assert round_.anna.workload.trained == 1 and round_.anna.transfers.downloads == 1
    round_.hub.take_masked("anna", round_.vector())


def test_training_that_fails_is_done_again_when_it_is_asked_for_and_then_reported(round_, silent):
    hub, round_.anna.workload.broken = Hub(round_), RuntimeError("no memory")
    round_.anna.trainer._serve(hub, round_.anna.transfers)
    assert hub.failures == ["RuntimeError"] and len(hub.replies) == 2
    assert round_.anna.transfers.uploads == []


def test_policy_and_peers_are_checked_before_any_key_is_made(round_):
    round_.policy(min_examples=51)
    assert "fewer than 51" in round_.ask_keys().refused
    round_.policy(peers="ask")
    assert "keys of bert, cleo have not been compared" in round_.ask_keys().refused
    round_.policy(peers="first")
    reply = round_.ask_keys()
    assert reply.examples == 50 and reply.masking.advert.weight == sum_weight(SETTINGS, 50)


def test_keys_asked_again_are_the_same_until_a_roster_came_and_then_new_ones(round_):
    first = round_.ask_keys().masking.advert
    assert round_.ask_keys().masking.advert == first
    round_.until_letters()
    assert round_.ask_keys().masking.advert.mask_key != first.mask_key


def test_next_attempt_uploads_again_under_other_masks_without_training_again(round_):
    round_.until_statement()
    first = round_.vector()
    round_.hub = round_.new_hub(attempt=2)
    round_.policy(peers="first", max_rounds_a_day=1)
    round_.until_statement()
    assert round_.anna.workload.trained == 1
    assert not np.array_equal(round_.vector(), first)


def test_next_attempt_with_other_settings_is_trained_anew(round_):
    """Else a hub could let all clinics but one train with a learning rate of almost 0, and then ask with the right one."""
    round_.settings = revised(SETTINGS, learning_rate=1e-9)
    bound = update_bound(round_.settings, 1, LAYOUT, math.inf)
    round_.hub = round_.new_hub(work=digest(round_.settings), bound=bound)
    round_.until_statement()
    round_.settings = SETTINGS
    round_.hub = round_.new_hub(attempt=2)
    round_.until_statement()
    assert round_.anna.workload.trained == 2


def test_update_that_was_trained_for_masks_does_not_leave_without_them(round_):
    round_.until_statement()
    round_.anna.receive(round_.make_request())
    assert "began with masks" in Reply.model_validate_json(round_.anna.link.replies[-1]).refused
    assert len(round_.anna.transfers.uploads) == 1


@pytest.mark.parametrize("until", ["keys", "confirmed"])
def test_model_that_keys_were_made_for_is_not_trained_from_without_masks(round_, clinic, until):
    if until == "keys":
        round_.ask_keys()
    else:
        round_.ask(statement=round_.until_statement())
        round_.anna = clinic()
    round_.anna.receive(round_.make_request())
    assert "began with masks" in Reply.model_validate_json(round_.anna.link.replies[-1]).refused
    assert round_.anna.workload.trained == 0


def test_clinic_that_requires_masks_trains_and_repeats_nothing_without_them(round_):
    round_.anna.receive(round_.make_request())
    round_.policy(peers="first", require_secure_aggregation=True)
    for request in (round_.make_request(), round_.make_request(round=2)):
        round_.anna.receive(request)
        assert "only sends masked updates" in Reply.model_validate_json(round_.anna.link.replies[-1]).refused
    assert round_.anna.workload.trained == 1 and len(round_.anna.transfers.uploads) == 1
    round_.anna.receive(round_.make_request(kind="evaluate", upload_url=""))
    assert not Reply.model_validate_json(round_.anna.link.replies[-1]).refused
    assert round_.until_statement().survivors == ("anna", "bert", "cleo")


def test_keys_asked_again_with_other_clinics_are_new_ones(round_, tmp_path):
    first = round_.ask_keys().masking.advert
    round_.lines["dora"] = ClinicIdentity(tmp_path / "dora").public_key
    assert round_.ask_keys().masking.advert.mask_key != first.mask_key


def test_hub_cannot_choose_a_roster_of_those_that_help_it(round_, tmp_path):
    """Seven others were compared, of which two may help the hub. So many are needed that they are not all the others."""
    peers = Peers(round_.anna.settings.state_dir)
    lines = {f"clinic-{i}": ClinicIdentity(tmp_path / str(i)).public_key for i in range(5)}
    lines |= {name: line for name, line in round_.lines.items() if name != "anna"}
    peers.pin(lines, {}, ask=True)
    for name, line in lines.items():
        peers.compare(name, fingerprint(line))
    assert (
        "3 clinics are asked, and with the clinics whose keys were compared here it takes 6"
        in round_.ask_keys().refused
    )
    round_.lines |= lines
    round_.hub.take_advert(round_.ask_keys().masking.advert)
    for session in round_.others.values():
        round_.hub.take_advert(session.advert)
    assert round_.ask(roster=round_.hub.close_roster()) is None
    assert round_.refused("3 clinics in a roster, expected at least 6")
    for number in range(5):
        peers.forget(f"clinic-{number}")
    round_.lines = {name: round_.lines[name] for name in ("anna", "bert", "cleo")}
    assert not round_.ask_keys().refused


def test_clinics_of_a_roster_are_in_the_log(round_):
    round_.log.set_level(logging.INFO)
    round_.until_letters()
    assert "round 1: updates are masked among anna, bert, cleo" in round_.log.text


def test_letter_that_cannot_be_opened_is_reported_with_its_sender_and_nothing_is_uploaded(round_):
    round_.until_letters()
    letters = round_.hub.letters_for("anna")
    spoilt = revised(letters.letters["bert"], sealed="00" * 60)
    reply = round_.ask(letters=revised(letters, letters={**letters.letters, "bert": spoilt}))
    assert reply.masking.accused == "bert" and reply.update is None and reply.examples == 0
    assert round_.anna.transfers.uploads == []


def test_round_can_be_masked_after_the_same_work_without_masks(round_):
    round_.anna.receive(round_.make_request(run="run-0000"))
    round_.anna.receive(round_.make_request())
    round_.until_statement()
    assert round_.vector().size == 6


def test_masked_reply_is_as_any_other_but_for_the_upload(round_):
    round_.until_letters()
    reply = round_.ask(letters=round_.hub.letters_for("anna"))
    assert reply.examples == 50 and reply.update.size == 4 * 6 and reply.masking is None


def test_restarted_clinic_has_left_the_attempt_and_does_not_train_for_it(round_, clinic):
    round_.until_letters()
    letters = round_.hub.letters_for("anna")
    round_.anna = clinic()
    assert round_.ask(letters=letters) is None
    assert round_.anna.workload.trained == 0
    assert round_.anna.link.failures == ["KeysLostError"]
    assert "restarted and has lost its keys; the hub asks for new ones" in round_.log.records[-1].getMessage()


@pytest.mark.parametrize(
    "terms", [{"round": 2}, {"run": "run-0002"}, {"model": "b" * 64}, {"work": "c" * 64}, {"length": 5}], ids=str
)
def test_terms_of_other_work_are_refused(round_, terms):
    round_.new_hub(**terms)
    assert round_.ask_keys() is None
    assert round_.refused("terms of")


def test_bound_so_wide_that_small_numbers_are_lost_is_refused(round_):
    round_.new_hub(bound=TERMS.bound * 10)
    assert round_.ask_keys() is None
    assert round_.refused("expected at most")


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"max_share": 0.45}, "anna would be 50% of a sum over 3 clinics.*expected at most 45% .max_share."),
        ({"min_sum": 4}, "a sum over 3 of 3 clinics is possible.*expected at least 4 .min_sum."),
    ],
    ids=str,
)
def test_sum_that_the_policy_does_not_allow_is_blocked_with_the_reason(round_, rules, words):
    round_.policy(peers="first", **rules)
    round_.hub.take_advert(round_.ask_keys().masking.advert)
    for session in round_.others.values():
        round_.hub.take_advert(session.advert)
    refused = round_.ask(roster=round_.hub.close_roster()).refused
    assert re.search(words, refused) and "let more clinics take part, or change the clinic's policy" in refused
    assert last_block(round_.anna.settings.state_dir)["words"] == refused


def test_second_roster_is_refused(round_):
    round_.until_letters()
    advert = ClinicSession(round_.terms, "bert", 50, round_.identities["bert"].sign, round_.keys, new_ledger()).advert
    adverts = tuple(advert if a.clinic == "bert" else a for a in round_.roster.adverts)
    assert round_.ask(roster=revised(round_.roster, adverts=adverts)) is None
    assert round_.refused("a second, different roster")


def test_training_from_another_model_than_that_of_the_keys_is_refused(round_):
    round_.until_letters()
    model = round_.make_request().model.model_copy(update={"sha256": "b" * 64})
    assert round_.ask(changes={"model": model}, letters=round_.hub.letters_for("anna")) is None
    assert round_.anna.transfers.uploads == []
    assert round_.refused("terms of another model")


def test_training_with_other_settings_than_those_of_the_keys_is_refused(round_):
    round_.until_letters()
    settings = RunSettings(masked_weights="examples", learning_rate=1e-9)
    assert round_.ask(changes={"settings": settings}, letters=round_.hub.letters_for("anna")) is None
    assert round_.refused("terms of another work")


@pytest.mark.parametrize("kind", ["keys", "letters", "train", "survivors", "shares"])
def test_request_for_another_clinic_is_refused_in_every_step(round_, kind, monkeypatch):
    """With another clinic's share the hub could make a vector as small as it likes."""
    monkeypatch.setattr(Trainer, "_poll_status", lambda *_, **__: None)  # it was not renamed
    if kind == "keys":
        reply = round_.ask_keys(clinic="bert")
    elif kind == "letters":
        round_.until_letters()
        reply = round_.ask({"clinic": "bert"}, roster=round_.roster)
    elif kind == "train":
        round_.until_statement()
        reply = round_.ask({"clinic": "bert"}, letters=round_.hub.letters_for("anna"))
    else:
        statement = round_.until_statement()
        signatures = {"anna": round_.ask(statement=statement).masking.confirmation}
        parts = {} if kind == "survivors" else {"signatures": signatures}
        reply = round_.ask({"clinic": "bert"}, statement=statement, **parts)
    assert reply.refused == "the request is for clinic bert, this is anna"
    assert len(round_.anna.transfers.uploads) == (kind not in ("keys", "letters"))


def test_policy_that_changed_during_an_attempt_is_asked_in_every_step(round_):
    statement = round_.until_statement()
    round_.policy(peers="first", require_dp=True)
    assert "differential privacy" in round_.ask(statement=statement).refused
    assert "differential privacy" in round_.ask(letters=round_.hub.letters_for("anna")).refused
    assert len(round_.anna.transfers.uploads) == 1


def test_second_statement_is_refused(round_):
    statement = round_.until_statement()
    round_.ask(statement=statement)
    assert round_.ask(statement=revised(statement, survivors=("anna", "cleo"))) is None
    assert round_.refused("a second, different statement")


def test_shares_without_enough_signatures_are_refused(round_):
    statement = round_.until_statement()
    own = round_.ask(statement=statement).masking.confirmation
    assert round_.ask(statement=statement, signatures={"anna": own, "bert": own}) is None
    assert round_.refused("1 valid confirmations")


def test_second_sum_of_a_round_is_refused_after_a_restart(round_, clinic):
    round_.ask(statement=round_.until_statement())
    round_.anna = clinic()
    round_.hub = round_.new_hub(attempt=2)
    round_.anna.workload.examples = 60  # another update and weight: another vector
    statement = round_.until_statement()
    assert round_.ask(statement=statement) is None
    assert round_.refused("confirmed before")


@pytest.mark.parametrize("what", ["clinics", "settings"])
def test_model_that_was_summed_before_with_other_clinics_or_settings_is_refused_with_the_remedy(round_, tmp_path, what):
    """As in a run that is started again after a clinic has left. The same run again gives the same sum."""
    round_.ask(statement=round_.until_statement())
    round_.hub = round_.new_hub(run="run-0002")
    assert not round_.ask_keys(run="run-0002").refused
    if what == "clinics":
        round_.lines["dora"] = ClinicIdentity(tmp_path / "dora").public_key
    else:
        round_.settings = revised(SETTINGS, rounds=5)
    reply = round_.ask_keys(run="run-0002")
    assert "summed before, in round 1 of run-0001" in reply.refused and "Start a run with another seed" in reply.refused


def test_key_that_changed_since_it_was_pinned_blocks_the_round(round_, tmp_path):
    round_.ask_keys()
    pinned = (round_.anna.settings.state_dir / FILE).read_text()
    round_.lines["bert"] = ClinicIdentity(tmp_path / "somebody").public_key
    assert "changed: bert" in round_.ask_keys().refused
    assert round_.lines["cleo"] in pinned and round_.lines["bert"] not in pinned


def test_keys_are_made_for_a_roster_with_a_new_key_that_the_old_one_has_signed(round_):
    round_.ask_keys()
    bert = round_.identities["bert"]
    new = bert.next_key()
    changes = {"bert": [key_change(bert.key, new, "bert")]}
    round_.lines["bert"] = openssh(new)
    hub = JoinedHub(name="anna", hubs=["localhost:1"], ca="", server_name=HUB_NAME, former=[HUB])
    ClinicIdentity(round_.anna.settings.identity_dir).remember(hub)
    assert "changed: bert" in round_.ask_keys().refused
    shown = MaskingRequest(terms=round_.terms, peers=round_.lines, changes=changes)
    bert.adopt_next()
    round_.hub = round_.new_hub()
    round_.hub.take_advert(round_.ask_keys(masking=shown).masking.advert)
    for session in round_.others.values():
        round_.hub.take_advert(session.advert)
    assert round_.ask(roster=round_.hub.close_roster()).masking.letters
