"""The trainer: replies to requests, repeats a reply without training again, and keeps the text of exceptions to itself."""

import json
import threading
import time

import numpy as np
import pytest

from embryofl.clinic_keys import authorities, openssh
from embryofl.errors import DataError
from embryofl.invite import HUB_NAME
from embryofl.membership import HubContact, MembershipStatus
from embryofl.messages import Reply, round_seed
from embryofl.settings import RunSettings
from embryofl.wire import Layout
from embryofl_clinic.exporter import make_registry
from embryofl_clinic.joining.client import HubClient
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.link.fleet_link import KeyRejected, RunGone, Stopped
from embryofl_clinic.policy.sent import SentLog
from embryofl_clinic.trainer import Trainer
from embryofl_clinic.workload.transfers import TransferDamaged, TransferRefused
from kits.answering import answering, reply
from kits.tls import Authority, signed_with

SECRET = "/data/images/Anna-Schmidt-1984.png"


def only_reply(clinic) -> Reply:
    assert clinic.link.failures == [] and len(clinic.link.replies) == 1
    return Reply.model_validate_json(clinic.link.replies[0])


def test_training_request_is_evaluated_trained_and_uploaded(clinic, make_request):
    anna = clinic()
    anna.receive(make_request())
    reply = only_reply(anna)
    assert (reply.kind, reply.round, reply.examples, reply.refused) == ("train", 1, 50, "")
    assert reply.validation is not None and reply.test is None
    assert [url for url, _ in anna.transfers.uploads] == ["/v1/update/first"]
    assert reply.update.size == len(anna.transfers.uploads[0][1])


def test_times_of_work_with_images_are_told_in_whole_seconds(clinic, make_request):
    """A model could make one image take longer. Transfers depend on the network, and the console shows their speed."""
    anna = clinic()
    anna.receive(make_request())
    seconds = only_reply(anna).seconds
    assert seconds["evaluate"] == seconds["train"] == 1 and seconds["loading"] in (0, 1)
    assert seconds["download"] < 1 and seconds["upload"] < 1


def test_final_evaluation_trains_and_uploads_nothing(clinic, make_request):
    anna = clinic()
    anna.receive(make_request(kind="evaluate", upload_url=""))
    reply = only_reply(anna)
    assert reply.update is None and reply.validation and reply.test
    assert anna.workload.trained == 0 and anna.transfers.uploads == []


def test_seed_follows_from_run_round_and_clinic(clinic, make_request):
    anna = clinic()
    anna.receive(make_request(round=3))
    layout = Layout.of({"w": ("F32", (4,))})
    state = np.frombuffer(anna.transfers.uploads[0][1], np.uint8)
    assert layout.tensor_views(state)["w"][0] == round_seed(0, 3, "anna") % 1000


def test_repeated_request_gets_the_same_reply_without_training_again(clinic, make_request):
    anna = clinic()
    anna.receive(make_request())
    anna.receive(make_request(upload_url="/v1/update/second"))
    assert anna.workload.trained == 1 and anna.link.replies[0] == anna.link.replies[1]
    (_, first), (url, second) = anna.transfers.uploads
    assert url == "/v1/update/second" and first == second


@pytest.mark.parametrize(
    "change",
    [
        {"round": 2},
        {"run": "run-0002"},
        {"kind": "evaluate", "upload_url": ""},
        {"model": "another"},
        {"settings": RunSettings(learning_rate=1e-9)},
    ],
)
def test_different_request_is_computed_afresh(clinic, make_request, change):
    anna = clinic()
    anna.receive(make_request())
    if change.get("model"):
        change = {"model": make_request().model.model_copy(update={"sha256": "b" * 64})}
    anna.receive(make_request(**change))
    assert anna.transfers.downloads == 2


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), OSError(2, "No such file", SECRET), RuntimeError(SECRET), MemoryError(SECRET)]
)
@pytest.mark.parametrize("where", ["training", "data", "download"])
def test_only_the_type_of_an_exception_leaves_the_clinic(clinic, make_request, error, where):
    anna = clinic()
    if where == "training":
        anna.workload.broken = error
    elif where == "download":
        anna.transfers.broken = error
    else:

        def get(request):
            raise error

        anna.bench.get = get
    anna.receive(make_request())
    assert anna.link.replies == [] and anna.link.failures == [type(error).__name__]
    anna.workload.broken = anna.transfers.broken = None
    anna.bench.get = lambda request: anna.workload
    anna.receive(make_request())
    assert len(anna.link.replies) == 1  # the next request gets a reply as usual


def test_bad_data_is_blocked_without_its_text(clinic, make_request):
    anna = clinic()

    def get(request):
        raise DataError("D2", f"{SECRET} is the only image")

    anna.bench.get = get
    anna.receive(make_request())
    reply = only_reply(anna)
    assert reply.refused and SECRET not in anna.link.replies[0] and "only image" not in anna.link.replies[0]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind": "train"}', '{"run": "import os"}', "[" * 50_000])
def test_invalid_request_is_reported_and_not_acted_on(clinic, text, tmp_path):
    anna = clinic()
    anna.receive(text)
    assert anna.link.failures == ["BadRequest"] and anna.transfers.downloads == 0
    assert [line.kind for line in SentLog(tmp_path / "state").read()] == ["failure"]


def test_an_unknown_field_is_not_acted_on(clinic, make_request):
    anna = clinic()
    body = json.loads(make_request().model_dump_json())
    body["settings"]["script"] = "print('x')"
    anna.receive(json.dumps(body))
    assert anna.link.failures == ["BadRequest"] and anna.workload.trained == 0


def test_another_layout_is_blocked_before_anything_is_downloaded(clinic, make_request):
    anna = clinic()
    anna.receive(make_request(layout="f" * 16))
    assert "another lite0" in only_reply(anna).refused and anna.transfers.downloads == 0


@pytest.mark.parametrize("part", ["model", "control"])
def test_a_file_of_another_size_than_the_model_is_not_downloaded(clinic, make_request, part):
    """Its memory is taken before the first byte arrives."""
    anna, request = clinic(), make_request()
    huge = request.model.model_copy(update={"size": 1 << 40})
    anna.receive(request.model_copy(update={part: huge}))
    assert anna.transfers.downloads == 0 and anna.link.failures == ["TransferRefused"]


def test_rejected_transfer_is_reported_as_a_failure(clinic, make_request):
    for error in (TransferRefused("http_410"), TransferDamaged("wrong_digest")):
        anna = clinic()
        anna.transfers.broken = error
        anna.receive(make_request())
        assert anna.link.failures == [type(error).__name__]


def test_stop_is_not_reported_as_a_failure(clinic, make_request):
    anna = clinic()
    anna.transfers.broken = Stopped()
    with pytest.raises(Stopped):
        anna.receive(make_request())
    assert anna.link.failures == []


@pytest.mark.parametrize("when", ["connect", "receive"])
@pytest.mark.parametrize("error", [RunGone(), ValueError("bad bytes"), KeyError("NoSuchClass")])
def test_nothing_the_hub_sends_ends_the_process(clinic, monkeypatch, when, error):
    """A hub that sends nonsense is treated as unreachable: the clinic tries again."""
    anna = clinic()
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
                anna.stop.set()
                raise Stopped
            raise error

    monkeypatch.setattr("embryofl_clinic.trainer.FleetLink", Link)
    monkeypatch.setattr("embryofl_clinic.trainer.HttpTransfers", lambda *_: Link())
    monkeypatch.setattr("embryofl_clinic.trainer.RETRY_FIRST_S", 0.01)
    assert isinstance(anna.trainer, Trainer)
    anna.trainer.run()
    assert len(calls) == 3


def status(state="enrolled", name="anna") -> MembershipStatus:
    return MembershipStatus(state=state, since=1.0, reason="because", refused=None, time=time.time(), name=name)


def test_trainer_whose_key_was_replaced_connects_as_soon_as_it_has_the_new_one(clinic, monkeypatch):
    """`rotate-key` registers the new key before it adopts it: for a moment the trainer still uses the retired one."""
    monkeypatch.setattr("embryofl_clinic.trainer.KEY_CHECK_S", 0.01)
    monkeypatch.setattr(HubClient, "ask_status", lambda *_, **__: status("replaced"))
    anna, rejected, keys = clinic(), threading.Event(), []
    rotating = ClinicIdentity(anna.settings.identity_dir)

    class Link:
        def __init__(self, route, key, *_):
            keys.append(openssh(key))

        def connect(self):
            if len(keys) > 1:
                anna.stop.set()
                raise Stopped
            rejected.set()
            raise KeyRejected("unauthorised")

        def close(self):
            pass

    monkeypatch.setattr("embryofl_clinic.trainer.FleetLink", Link)
    trainer = threading.Thread(target=anna.trainer.run, daemon=True)
    trainer.start()
    assert rejected.wait(30)
    rotating.next_key()
    rotating.adopt_next()
    trainer.join(30)
    assert keys[1:] == [rotating.public_key] and keys[0] != keys[1]


def test_request_under_an_unknown_name_makes_the_trainer_ask_whether_it_was_renamed(clinic, make_request, monkeypatch):
    monkeypatch.setattr(HubClient, "ask_status", lambda *_, **__: status(name="berta"))
    anna = clinic()
    anna.receive(make_request(clinic="berta"))
    assert only_reply(anna).refused == ""
    assert ClinicIdentity(anna.settings.identity_dir).membership.name == "berta"


def test_suspension_shows_in_the_trainers_metrics(clinic, make_request, monkeypatch):
    for state, suspended in (("suspended", 1), ("enrolled", 0)):
        monkeypatch.setattr(HubClient, "ask_status", lambda *_, state=state, **__: status(state))
        anna = clinic()
        anna.receive(make_request(clinic="berta"))
        value = make_registry(anna.metrics).get_sample_value("embryofl_trainer_suspended", {"clinic": "anna"})
        assert value == suspended


def test_new_contact_is_saved_and_used_if_the_pinned_authority_signed_it(clinic, make_request, monkeypatch):
    authority, following = Authority(), Authority()
    contact = HubContact(hubs=["new.example:8443"], ca=following.pem, server_name=HUB_NAME, issued=7)
    stated = status().model_copy(update={"link": authority.signed(contact)})
    monkeypatch.setattr(HubClient, "ask_status", lambda *_, **__: stated)
    anna = clinic(hub=JoinedHub(name="anna", hubs=["localhost:1"], ca=authority.pem, server_name=HUB_NAME, issued=6))
    anna.receive(make_request(clinic="berta"))
    hub = ClinicIdentity(anna.settings.identity_dir).membership
    assert hub.hubs == ["localhost:1", "new.example:8443"]  # the address in use stays first
    assert (hub.ca, hub.issued) == (following.pem, 7)
    assert hub.authorities == [
        *authorities(authority.pem),
        *authorities(following.pem),
    ]  # other clinics' keys name them


@pytest.mark.parametrize("forged", ["not signed", "by the gateway's key", "by another authority", "older, replayed"])
def test_thief_of_the_gateways_key_cannot_become_the_hub(clinic, make_request, tmp_path, caplog, forged):
    """Its TLS is believed until the authority is replaced; what it says about whom to trust never is."""
    authority, thief = Authority(), Authority()
    contact = HubContact(hubs=["thief.example:8443"], ca=thief.pem, server_name=HUB_NAME, issued=2**50)
    gateway = authority.context(tmp_path, HUB_NAME)
    link = {
        "not signed": contact.model_dump(),
        "by the gateway's key": signed_with(authority.leaf, contact).model_dump(),
        "by another authority": thief.signed(contact).model_dump(),
        "older, replayed": authority.signed(contact.model_copy(update={"issued": 5})).model_dump(),
    }[forged]
    body = json.dumps({**status().model_dump(), "link": link}).encode()
    with answering(lambda handler: reply(handler, body), gateway) as server:
        address = f"localhost:{server.server_port}"
        hub = JoinedHub(name="anna", hubs=[address], ca=authority.pem, server_name=HUB_NAME, issued=6)
        anna = clinic(hub=hub)
        ClinicIdentity(anna.settings.identity_dir).remember(hub)
        for _ in range(2):
            anna.receive(make_request(clinic="berta"))
        assert ClinicIdentity(anna.settings.identity_dir).membership == hub
    if forged != "not signed":  # such a reply has another form
        assert caplog.text.count("no authority trusted by this clinic") == 1 and "thief.example:8443" in caplog.text
