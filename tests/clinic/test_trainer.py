"""The trainer: replies to requests, repeats a reply without training again, and lets no exception's text out."""

import json
import threading
import time

import pytest

from embryofl.errors import DataError
from embryofl.invite import HUB_NAME
from embryofl.membership import HubContact, MembershipStatus
from embryofl.messages import Reply, round_seed
from embryofl_clinic.exporter import make_registry
from embryofl_clinic.joining.client import HubClient
from embryofl_clinic.joining.identity import ClinicIdentity, openssh
from embryofl_clinic.link.fleet_link import KeyRejected, RunGone, Stopped
from embryofl_clinic.trainer import Trainer
from embryofl_clinic.workload.transfers import TransferDamaged, TransferRefused

SECRET = "/data/images/Anna-Schmidt-1984.png"


def only_reply(clinic) -> Reply:
    assert clinic.link.failures == [] and len(clinic.link.answers) == 1
    return Reply.model_validate_json(clinic.link.answers[0])


def test_training_request_is_evaluated_trained_and_uploaded(clinic, make_request):
    found = clinic()
    found.say(make_request())
    reply = only_reply(found)
    assert (reply.kind, reply.round, reply.examples, reply.refused) == ("train", 1, 50, "")
    assert reply.validation is not None and reply.test is None
    assert [url for url, _ in found.transfers.uploads] == ["/v1/update/first"]
    assert reply.update.size == len(found.transfers.uploads[0][1])


def test_final_evaluation_trains_and_uploads_nothing(clinic, make_request):
    found = clinic()
    found.say(make_request(kind="evaluate", upload_url=""))
    reply = only_reply(found)
    assert reply.update is None and reply.validation and reply.test
    assert found.workload.trained == 0 and found.transfers.uploads == []


def test_seed_follows_from_run_round_and_clinic(clinic, make_request):
    found = clinic()
    found.say(make_request(round=3))
    from embryofl.wire import Layout

    layout = Layout.of({"w": ("F32", (4,))})
    import numpy as np

    state = np.frombuffer(found.transfers.uploads[0][1], np.uint8)
    assert layout.tensor_views(state)["w"][0] == round_seed(0, 3, "anna") % 1000


def test_repeated_request_gets_the_same_reply_without_training_again(clinic, make_request):
    found = clinic()
    found.say(make_request())
    found.say(make_request(upload_url="/v1/update/second"))
    assert found.workload.trained == 1 and found.link.answers[0] == found.link.answers[1]
    (_, first), (url, second) = found.transfers.uploads
    assert url == "/v1/update/second" and first == second


@pytest.mark.parametrize(
    "change", [{"round": 2}, {"run": "run-0002"}, {"kind": "evaluate", "upload_url": ""}, {"model": "another"}]
)
def test_other_work_is_done_anew(clinic, make_request, change):
    found = clinic()
    found.say(make_request())
    if change.get("model"):
        change = {"model": make_request().model.model_copy(update={"sha256": "b" * 64})}
    found.say(make_request(**change))
    assert found.transfers.downloads == 2


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), OSError(2, "No such file", SECRET), RuntimeError(SECRET), MemoryError(SECRET)]
)
@pytest.mark.parametrize("where", ["training", "data", "download"])
def test_only_the_type_of_an_exception_leaves_the_clinic(clinic, make_request, error, where):
    found = clinic()
    if where == "training":
        found.workload.broken = error
    elif where == "download":
        found.transfers.broken = error
    else:

        def get(request):
            raise error

        found.bench.get = get
    found.say(make_request())
    assert found.link.answers == [] and found.link.failures == [type(error).__name__]
    found.workload.broken = found.transfers.broken = None
    found.bench.get = lambda request: found.workload
    found.say(make_request())
    assert len(found.link.answers) == 1  # and the next request is answered as if nothing had been


def test_bad_data_is_blocked_without_its_text(clinic, make_request):
    found = clinic()

    def get(request):
        raise DataError(f"{SECRET} is the only image")

    found.bench.get = get
    found.say(make_request())
    reply = only_reply(found)
    assert reply.refused and SECRET not in found.link.answers[0] and "only image" not in found.link.answers[0]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind": "train"}', '{"run": "import os"}', "[" * 50_000])
def test_invalid_request_is_reported_and_not_acted_on(clinic, text):
    found = clinic()
    found.say(text)
    assert found.link.failures == ["BadRequest"] and found.transfers.downloads == 0


def test_an_unknown_field_is_not_acted_on(clinic, make_request):
    found = clinic()
    body = json.loads(make_request().model_dump_json())
    body["settings"]["script"] = "print('x')"
    found.say(json.dumps(body))
    assert found.link.failures == ["BadRequest"] and found.workload.trained == 0


def test_another_layout_is_blocked_before_anything_is_downloaded(clinic, make_request):
    found = clinic()
    found.say(make_request(layout="f" * 16))
    assert "another lite0" in only_reply(found).refused and found.transfers.downloads == 0


def test_rejected_transfer_is_reported_as_a_failure(clinic, make_request):
    for error in (TransferRefused("http_410"), TransferDamaged("wrong_digest")):
        found = clinic()
        found.transfers.broken = error
        found.say(make_request())
        assert found.link.failures == [type(error).__name__]


def test_stop_is_not_reported_as_a_failure(clinic, make_request):
    found = clinic()
    found.transfers.broken = Stopped()
    with pytest.raises(Stopped):
        found.say(make_request())
    assert found.link.failures == []


@pytest.mark.parametrize("when", ["connect", "receive"])
@pytest.mark.parametrize("error", [RunGone(), ValueError("bad bytes"), KeyError("NoSuchClass")])
def test_nothing_the_hub_sends_ends_the_process(clinic, monkeypatch, when, error):
    """A hub that sends nonsense is treated as unreachable: the clinic tries again."""
    found = clinic()
    calls = []

    class Link:
        def __init__(self, *_):
            pass

        def connect(self):
            if when == "connect":
                self._nonsense()

        def receive(self):
            self._nonsense()

        def close(self):
            pass

        def _nonsense(self):
            calls.append(1)
            if len(calls) == 3:
                found.stop.set()
                raise Stopped
            raise error

    monkeypatch.setattr("embryofl_clinic.trainer.FleetLink", Link)
    monkeypatch.setattr("embryofl_clinic.trainer.HttpTransfers", lambda *_: Link())
    monkeypatch.setattr("embryofl_clinic.trainer.RETRY_FIRST_S", 0.01)
    assert isinstance(found.agent, Trainer)
    found.agent.run()
    assert len(calls) == 3


def status(state="enrolled", name="anna") -> MembershipStatus:
    return MembershipStatus(state=state, since=1.0, reason="because", refused=None, time=time.time(), name=name)


def test_trainer_whose_key_was_replaced_connects_as_soon_as_it_has_the_new_one(clinic, monkeypatch):
    """`rotate-key` informs the hub first: for a moment the trainer's key is retired and the new one not in its place."""
    monkeypatch.setattr("embryofl_clinic.trainer.KEY_CHECK_S", 0.01)
    monkeypatch.setattr(HubClient, "ask_status", lambda *_, **__: status("replaced"))
    found, rejected, keys = clinic(), threading.Event(), []
    rotating = ClinicIdentity(found.settings.identity_dir)

    class Link:
        def __init__(self, route, key, *_):
            keys.append(openssh(key))

        def connect(self):
            if len(keys) > 1:
                found.stop.set()
                raise Stopped
            rejected.set()
            raise KeyRejected("unauthorised")

        def close(self):
            pass

    monkeypatch.setattr("embryofl_clinic.trainer.FleetLink", Link)
    trainer = threading.Thread(target=found.agent.run, daemon=True)
    trainer.start()
    assert rejected.wait(30)
    rotating.next_key()
    rotating.adopt_next()
    trainer.join(30)
    assert keys[1:] == [rotating.public_key] and keys[0] != keys[1]


def test_request_under_an_unknown_name_makes_the_trainer_ask_whether_it_was_renamed(clinic, make_request, monkeypatch):
    monkeypatch.setattr(HubClient, "ask_status", lambda *_, **__: status(name="berta"))
    found = clinic()
    found.say(make_request(clinic="berta"))
    assert only_reply(found).refused == ""
    assert ClinicIdentity(found.settings.identity_dir).membership.name == "berta"


def test_suspension_shows_in_the_trainers_metrics(clinic, make_request, monkeypatch):
    for state, suspended in (("suspended", 1), ("enrolled", 0)):
        monkeypatch.setattr(HubClient, "ask_status", lambda *_, state=state, **__: status(state))
        found = clinic()
        found.say(make_request(clinic="berta"))
        value = make_registry(found.metrics).get_sample_value("embryofl_trainer_suspended", {"clinic": "anna"})
        assert value == suspended


def test_new_contact_from_the_hub_is_saved_and_used(clinic, make_request, monkeypatch):
    contact = HubContact(hubs=["new.example:8443"], ca="", server_name=HUB_NAME)
    monkeypatch.setattr(HubClient, "ask_status", lambda *_, **__: status().model_copy(update={"link": contact}))
    found = clinic()
    found.say(make_request(clinic="berta"))
    hub = ClinicIdentity(found.settings.identity_dir).membership
    assert hub.hubs == ["localhost:1", "new.example:8443"]  # the address in use stays first
