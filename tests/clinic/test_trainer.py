"""The agent: answers what is asked, repeats an answer without training again, and lets no exception's text out."""

import json
import threading

import pytest

from embryofl.errors import DataError
from embryofl.messages import Reply, round_seed
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.link.fleet_link import RunGone, Stopped
from embryofl_clinic.link.transfer import TransferDamaged, TransferRefused
from embryofl_clinic.trainer import Trainer

SECRET = "/data/images/Anna-Schmidt-1984.png"


def only_reply(clinic) -> Reply:
    assert clinic.link.failures == [] and len(clinic.link.answers) == 1
    return Reply.model_validate_json(clinic.link.answers[0])


def test_it_evaluates_trains_and_uploads(clinic, make_request):
    found = clinic()
    found.say(make_request())
    reply = only_reply(found)
    assert (reply.kind, reply.round, reply.examples, reply.refused) == ("train", 1, 50, "")
    assert reply.validation is not None and reply.test is None
    assert [url for url, _ in found.transfers.uploads] == ["/v1/update/first"]
    assert reply.update.size == len(found.transfers.uploads[0][1])


def test_the_closing_evaluation_trains_and_uploads_nothing(clinic, make_request):
    found = clinic()
    found.say(make_request(kind="evaluate", upload_url=""))
    reply = only_reply(found)
    assert reply.update is None and reply.validation and reply.test
    assert found.workload.trained == 0 and found.transfers.uploads == []


def test_the_seed_is_that_of_run_round_and_clinic(clinic, make_request):
    found = clinic()
    found.say(make_request(round=3))
    from embryofl.wire import Layout

    layout = Layout.of({"w": ("F32", (4,))})
    import numpy as np

    state = np.frombuffer(found.transfers.uploads[0][1], np.uint8)
    assert layout.tensor_views(state)["w"][0] == round_seed(0, 3, "anna") % 1000


def test_asked_again_for_work_that_is_done_it_sends_it_again(clinic, make_request):
    found = clinic()
    found.say(make_request())
    found.say(make_request(upload_url="/v1/update/second"))
    assert found.workload.trained == 1 and found.link.answers[0] == found.link.answers[1]
    (_, first), (url, second) = found.transfers.uploads
    assert url == "/v1/update/second" and first == second


@pytest.mark.parametrize(
    "change", [{"round": 2}, {"run": "run-0002"}, {"kind": "evaluate", "upload_url": ""}, {"model": "another"}]
)
def test_but_not_for_other_work(clinic, make_request, change):
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
def test_of_an_exception_only_the_type_leaves(clinic, make_request, error, where):
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


def test_bad_data_is_refused_without_its_text(clinic, make_request):
    found = clinic()

    def get(request):
        raise DataError(f"{SECRET} is the only image")

    found.bench.get = get
    found.say(make_request())
    reply = only_reply(found)
    assert reply.refused and SECRET not in found.link.answers[0] and "only image" not in found.link.answers[0]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind": "train"}', '{"run": "import os"}', "[" * 50_000])
def test_what_is_no_request_is_answered_so_and_not_acted_on(clinic, text):
    found = clinic()
    found.say(text)
    assert found.link.failures == ["BadRequest"] and found.transfers.downloads == 0


def test_an_unknown_field_is_not_acted_on(clinic, make_request):
    found = clinic()
    body = json.loads(make_request().model_dump_json())
    body["settings"]["script"] = "print('x')"
    found.say(json.dumps(body))
    assert found.link.failures == ["BadRequest"] and found.workload.trained == 0


def test_another_layout_is_refused_before_anything_is_fetched(clinic, make_request):
    found = clinic()
    found.say(make_request(layout="f" * 16))
    assert "another lite0" in only_reply(found).refused and found.transfers.downloads == 0


def test_a_transfer_that_is_not_taken_is_no_crash(clinic, make_request):
    for error in (TransferRefused("http_410"), TransferDamaged("wrong_digest")):
        found = clinic()
        found.transfers.broken = error
        found.say(make_request())
        assert found.link.failures == [type(error).__name__]


def test_a_stop_is_not_taken_for_a_failure(clinic, make_request):
    found = clinic()
    found.transfers.broken = Stopped()
    with pytest.raises(Stopped):
        found.say(make_request())
    assert found.link.failures == []


@pytest.mark.parametrize("when", ["connect", "receive"])
@pytest.mark.parametrize("error", [RunGone(), ValueError("bad bytes"), KeyError("NoSuchClass")])
def test_nothing_the_hub_says_ends_the_process(clinic, monkeypatch, when, error):
    """A hub that answers nonsense is a hub that cannot be reached right now: the clinic tries again."""
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
    monkeypatch.setattr("embryofl_clinic.trainer.Transfers", lambda *_: Link())
    monkeypatch.setattr("embryofl_clinic.trainer.REFUSED_FIRST_S", 0.01)
    assert isinstance(found.agent, Trainer)
    found.agent.run()
    assert len(calls) == 3


def test_whose_key_was_replaced_goes_on_as_soon_as_it_has_the_new_one(clinic, monkeypatch):
    """`rotate-key` tells the hub first: for a moment the trainer's key is dead and the new one not in its place."""
    monkeypatch.setattr("embryofl_clinic.trainer.KEY_LOOK_S", 0.01)
    found = clinic()
    other = ClinicIdentity(found.agent._settings.identity_dir)
    resting = threading.Thread(target=found.agent._rest, args=(600,), daemon=True)
    resting.start()
    other.next_key()
    other.adopt_next()
    resting.join(30)
    assert not resting.is_alive() and found.agent._identity.public_key == other.public_key


def test_asked_by_a_name_it_does_not_know_it_first_asks_whether_it_was_renamed(clinic, make_request, monkeypatch):
    found = clinic()
    monkeypatch.setattr(found.agent._standing, "look", lambda now: found.agent._policy.__setattr__("name", "berta"))
    found.say(make_request(clinic="berta"))
    assert only_reply(found).refused == ""
