"""The round loop among stand-ins for SuperLink and clinics: what is lost is asked again, what is wrong is left out."""

import asyncio
import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embryofl.messages import Reply, Request, RunSettings, Update
from embryofl.metrics import ScoreSums
from embryofl.wire import Layout
from embryofl_server import exchange as module
from embryofl_server import strategies
from embryofl_server.blobs import SignedUrls, Uploads
from embryofl_server.checkpoint import Checkpoints
from embryofl_server.lifeline import Hub, RunFailed
from embryofl_server.progress import Progress
from embryofl_server.rounds import RoundLoop
from embryofl_server.runs import Runs
from embryofl_server.store import Store
from embryofl_server.strategies import Outcome, StrategySettings
from embryofl_server.strategies.fedavg import FedAvg
from embryofl_server.superlink import Answer, LinkLost, Node

NAMES = ["anna", "bert", "cleo"]
LAYOUT = Layout.of({"w": ("F32", (3, 50)), "b": ("F32", (7,)), "half": ("F16", (5,)), "count": ("I64", ())})


class FakeLink:
    """A SuperLink with clinics behind it that answer at once. `fault(kind, name, round)` is asked before each step."""

    def __init__(self, uploads: Uploads, packed: Callable[..., np.ndarray]) -> None:
        self.uploads, self.packed = uploads, packed
        self.fault: Callable[[str, str, int], Any] = lambda *_: None
        self.activated = dict.fromkeys(NAMES, 1)
        self.online = set(NAMES)
        self.ready: dict[str, Answer] = {}
        self.sent: list[tuple[str, int]] = []
        self.recovered = 0
        self.right: dict[int, int] = {}  # of ten good embryos, how many each round's model puts above the others
        self.asked: list[tuple[str, int]] = []

    def _figures(self, request: Request) -> dict[str, Any]:
        self.asked.append((request.kind, request.round))
        if not self.right:
            return {}
        above = self.right[request.round - (request.kind == "train")]
        scores = [0.9] * above + [0.1] * (10 - above) + [0.5] * 10
        sums = ScoreSums.from_scores(scores, [1] * 10 + [0] * 10, [5] * 20).to_dict()
        return {"validation": sums} | ({"test": sums} if request.kind == "evaluate" else {})

    def recover(self, keys: Any) -> list[str]:
        self.recovered += 1
        self.ready.clear()
        return []

    def close(self, details: str = "") -> None:
        pass

    def nodes(self) -> dict[str, Node]:
        return {n: Node(n, i, n in self.online, str(self.activated[n])) for i, n in enumerate(NAMES)}

    def send(self, node: Node, text: str, ttl_s: float, group: str) -> str:
        request = Request.model_validate_json(text)
        if self.fault("send", node.name, request.round):
            raise LinkLost("gone")
        self.sent.append((node.name, request.round))
        message = f"m{len(self.sent)}"
        what = self.fault("answer", node.name, request.round)
        if what != "silent":
            self.ready[message] = what if isinstance(what, Answer) else self._answer(message, request, what)
        return message

    def _answer(self, message: str, request: Request, what: Any) -> Answer:
        update = None
        if request.kind == "train":
            state = self.packed(NAMES.index(request.clinic) + 10 * request.round)
            if what == "nan":
                state[-8 * 4 :] = 255
            if what == "far":
                for view in LAYOUT.section_views(state):
                    if view.dtype == np.float32:
                        view *= 1e6
            data = state.tobytes()

            async def body() -> Any:
                yield data

            asyncio.run(self.uploads.receive(request.upload_url.split("?")[0], len(data), body()))
            update = Update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        reply = Reply(
            kind=request.kind, run=request.run, round=request.round, layout=request.layout, examples=20,
            train_loss=0.5, update=update, refused="not today" if what == "refuse" else "", **self._figures(request),
        )  # fmt: skip
        return Answer(message, text=reply.model_dump_json())

    def answers(self, ids: list[str]) -> list[Answer]:
        if self.fault("pull", "", 0):
            raise LinkLost("gone")
        found = [self.ready.pop(i) for i in ids if i in self.ready]
        return [Answer(i, a.text, a.error, a.lost) for i, a in zip([a.message_id for a in found], found, strict=True)]


@pytest.fixture
def stage(tmp_path: Path, packed, layout, monkeypatch):
    """`stage(**settings)`: a run ready to be executed with `stage.go()`."""
    monkeypatch.setattr(module, "PRESENCE_S", 0.02)
    uploads = Uploads(tmp_path / "uploads")
    store = Store(tmp_path / "clinics.db")
    for name in NAMES:
        store.enrol(name, store.invite(name, 1), f"key-{name}", "quality", {})
    link, runs, audit = FakeLink(uploads, packed), Runs(tmp_path / "runs"), []
    idle: dict[str, float] = {}
    hub = Hub(link, store, SignedUrls(b"k", lambda _: True), uploads, Progress(), lambda e, **d: audit.append((e, d)),
              lambda name, reason: store.set_state(name, "suspended", reason), lambda name: idle.get(name, 0.0))  # fmt: skip

    def make(**settings: Any) -> SimpleNamespace:
        run = runs.create(RunSettings(**({"rounds": 3, "min_clinics": 3, "norm_clip": 0} | settings)))
        checkpoints = Checkpoints(run.folder, tmp_path / "weights" / run.name, 3)
        checkpoints.save(0, packed(99), {"clinics": {}, "refused": {}})
        run.set_state("queued", 0)

        def go() -> bytes:
            found.said = RoundLoop(hub, run, checkpoints, threading.Event()).execute()
            return (run.folder / "model.safetensors").read_bytes()

        found = SimpleNamespace(run=run, go=go, link=link, audit=audit, checkpoints=checkpoints, left=uploads,
                                store=store, progress=hub.progress, idle=idle, said="")  # fmt: skip
        return found

    yield make
    store.close()


def events(run: Any) -> list[dict[str, Any]]:
    return [json.loads(x) for x in (run.folder / "events.jsonl").read_text().splitlines()]


def once(kind: str, name: str = "", round_: int = 0, what: Any = True):
    """A fault that happens once."""
    left = [what]

    def fault(k: str, n: str, r: int) -> Any:
        if k == kind and name in ("", n) and round_ in (0, r) and left:
            return left.pop()
        return None

    return fault


def test_an_undisturbed_run(stage, layout):
    found = stage()
    model = np.frombuffer(found.go(), np.uint8)
    layout.check(model)
    assert found.run.state["state"] == "running" and found.run.state["round"] == 3
    assert [r["round"] for r in found.checkpoints.records()] == [0, 1, 2, 3]
    assert found.link.sent == [(n, r) for r in (1, 2, 3) for n in NAMES] + [(n, 3) for n in NAMES]
    assert list(found.left._folder.iterdir()) == []


@pytest.mark.parametrize("where", ["send", "pull"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_superlink_that_is_lost_changes_nothing(stage, where, number):
    expected = stage().go()
    found = stage()
    found.link.fault = once(where, "bert" if where == "send" else "", number if where == "send" else 0)
    before = found.link.recovered
    assert found.go() == expected
    assert found.link.recovered == before + 2  # at the start, and once more


def test_a_clinic_that_lost_its_message_is_asked_again(stage):
    expected = stage().go()
    found = stage()
    silent = once("answer", "bert", 2, "silent")

    def fault(kind: str, name: str, round_: int) -> Any:
        what = silent(kind, name, round_)
        if what:
            found.link.activated["bert"] += 1  # it was started again
        return what

    found.link.fault = fault
    assert found.go() == expected
    assert found.link.sent.count(("bert", 2)) == 3  # once in the undisturbed run, twice in this one


def test_a_clinic_that_says_it_has_nothing_to_do_is_asked_again(stage, monkeypatch):
    """The message was handed out and lost with the gateway; the clinic's session goes on."""
    monkeypatch.setattr(module, "UNHEARD_S", 0.05)
    expected = stage().go()
    found = stage()
    silent = once("answer", "bert", 2, "silent")

    def fault(kind: str, name: str, round_: int) -> Any:
        what = silent(kind, name, round_)
        if what:
            found.idle["bert"] = time.time() + 0.1
        return what

    found.link.fault = fault
    assert found.go() == expected
    assert found.link.sent.count(("bert", 2)) == 3  # once in the undisturbed run, twice in this one


def test_an_answer_given_in_a_clinics_stead_is_not_its_word(stage):
    expected = stage().go()
    found = stage()
    found.link.fault = once("answer", "cleo", 1, "lost")
    answer = found.link._answer

    def lost(message: str, request: Request, what: Any) -> Answer:
        return Answer(message, error="unavailable", lost=True) if what == "lost" else answer(message, request, what)

    found.link._answer = lost
    assert found.go() == expected


@pytest.mark.parametrize(
    ("what", "reason"), [("refuse", "clinic_refused"), ("nan", "not_finite"), ("error", "clinic_error")]
)
def test_what_cannot_be_taken_is_left_out_with_its_reason(stage, what, reason):
    found = stage(quorum=2, rounds=1)
    answer = found.link._answer

    def wrong(message: str, request: Request, kind: Any) -> Answer:
        return Answer(message, error="ValueError") if kind == "error" else answer(message, request, kind)

    found.link._answer = wrong
    found.link.fault = once("answer", "bert", 1, what)
    found.go()
    record = found.checkpoints.records()[1]
    assert record["refused"] == {"bert": reason} and set(record["clinics"]) == {"anna", "cleo"}
    assert ("update_refused", {"run": found.run.name, "round": 1, "clinic": "bert", "reason": reason}) in found.audit
    assert list(found.left._folder.iterdir()) == []


def test_without_a_quorum_the_run_stops_and_says_why(stage):
    found = stage(rounds=2)
    found.link.fault = once("answer", "bert", 2, "nan")
    with pytest.raises(RunFailed, match="Round 2: 2 usable answers.*quorum is 3"):
        found.go()
    assert found.run.state["round"] == 1 and found.checkpoints.latest().round == 1


def test_at_the_deadline_the_quorum_is_enough(stage):
    found = stage(rounds=1, quorum=2, round_deadline_s=0.3)
    found.link.fault = once("answer", "bert", 1, "silent")
    found.go()
    assert found.checkpoints.records()[1]["refused"] == {"bert": "late"}


def test_after_deadline_and_grace_the_run_stops_and_names_who_is_missing(stage):
    found = stage(rounds=1, round_deadline_s=0.1, grace_s=0.2)
    found.link.fault = once("answer", "bert", 1, "silent")
    with pytest.raises(RunFailed, match="missing: bert"):
        found.go()


def test_with_too_few_clinics_it_waits_and_then_says_who_is_missing(stage):
    found = stage(join_wait_s=0.2)
    found.link.online = {"anna"}
    with pytest.raises(RunFailed, match="1 of at least 3.*bert, cleo"):
        found.go()
    assert found.run.state["state"] == "waiting"


def test_a_run_taken_up_says_where_it_really_is(stage):
    """Killed between a round's checkpoint and its state: the state is one behind, the checkpoint is what counts."""
    found = stage()
    expected = found.go()
    found.run.set_state("running", 2)
    assert found.go() == expected
    assert found.run.state["round"] == 3
    lines = [(x["round"], x["clinic"], x["split"], x["day"]) for x in found.run.metrics()]
    assert len(set(lines)) == len(lines)


def test_a_run_taken_up_after_a_damaged_checkpoint_gives_the_same_model(stage):
    found = stage()
    expected = found.go()
    for number in (3, 2):
        found.checkpoints.weights_path(number).write_bytes(b"damaged")
    assert found.go() == expected


# -- the gate at work ---------------------------------------------------------------------------------------------------
def always(name: str, what: Any, kinds: tuple[str, ...] = ("answer",)):
    """A fault of one clinic in every round."""
    return lambda kind, n, r: what if kind in kinds and n == name else None


def test_an_update_far_longer_than_the_others_is_refused_when_the_round_closes(stage):
    found = stage(rounds=1, quorum=2)
    found.link.fault = once("answer", "anna", 1, "far")  # the first by name and in time
    found.go()
    record = found.checkpoints.records()[1]
    assert record["refused"] == {"anna": "norm"} and set(record["clinics"]) == {"bert", "cleo"}
    (event,) = [e for e in events(found.run) if e["kind"] == "refused"]
    assert "median" in event["words"] and "norm_bound" in event["words"]
    assert list(found.left._folder.iterdir()) == []


def test_the_model_is_that_of_the_others_alone(stage, layout, packed):
    found = stage(rounds=1, quorum=2)
    found.link.fault = once("answer", "anna", 1, "far")
    model = layout.tensor_views(np.frombuffer(found.go(), np.uint8))["w"]
    others = [layout.tensor_views(packed(NAMES.index(n) + 10))["w"].astype(float) for n in ("bert", "cleo")]
    assert np.array_equal(model, ((others[0] * 20 + others[1] * 20) / 40).astype(np.float32))


def test_with_clipping_a_long_update_counts_a_little(stage):
    found = stage(rounds=1, norm_clip=2, norm_bound=0)
    found.link.fault = once("answer", "anna", 1, "far")
    found.go()
    record = found.checkpoints.records()[1]
    norms = sorted(c["norm"] for c in record["clinics"].values())
    assert record["clinics"]["anna"]["scale"] == pytest.approx(2 * norms[1] / norms[2])
    assert "scale" not in record["clinics"]["bert"] and record["refused"] == {}


def test_refusals_in_a_row_suspend_and_the_run_goes_on_without(stage):
    found = stage(rounds=5, min_clinics=2, quorum=2, suspend_after=2)
    found.link.fault = always("bert", "nan")
    found.go()
    assert [r["refused"] for r in found.checkpoints.records()[1:]] == [{"bert": "not_finite"}] * 2 + [{}] * 3
    clinic = found.store.clinics()["bert"]
    assert clinic.state == "suspended" and "2 answers in a row" in clinic.reason and "not finite" in clinic.reason
    assert {n: c.state for n, c in found.store.clinics().items() if n != "bert"} == {
        "anna": "enrolled",
        "cleo": "enrolled",
    }
    assert ("bert", 3) not in found.link.sent


def test_a_clinic_that_leaves_before_it_is_suspended_does_not_end_the_run(stage):
    found = stage(rounds=3, quorum=2, suspend_after=1, min_clinics=2)

    def fault(kind: str, name: str, round_: int) -> Any:
        if kind == "answer" and name == "bert" and round_ == 1:
            found.store.set_state("bert", "left", "It left by its own wish")
            return "nan"
        return None

    found.link.fault = fault
    found.go()
    assert [set(r["clinics"]) for r in found.checkpoints.records()[1:]] == [{"anna", "cleo"}] * 3


def test_a_good_answer_between_starts_the_count_anew(stage):
    found = stage(rounds=5, min_clinics=2, quorum=2, suspend_after=2)
    found.link.fault = lambda kind, name, r: "nan" if kind == "answer" and name == "bert" and r in (1, 3, 5) else None
    found.go()
    assert found.store.clinics()["bert"].state == "enrolled"


@pytest.mark.parametrize("what", ["refuse", "error", "silent"])
def test_what_is_no_fault_does_not_suspend(stage, what):
    found = stage(rounds=4, min_clinics=2, quorum=2, suspend_after=2, round_deadline_s=0.2)
    answer = found.link._answer
    found.link._answer = lambda m, request, kind: (
        Answer(m, error="ValueError") if kind == "error" else answer(m, request, kind)
    )
    found.link.fault = always("bert", what)
    found.go()
    assert found.store.clinics()["bert"].state == "enrolled"


def test_without_enough_clinics_because_of_a_suspension_the_run_says_so(stage):
    found = stage(rounds=5, quorum=2, suspend_after=1, join_wait_s=0.2)
    found.link.fault = always("bert", "nan")
    with pytest.raises(RunFailed, match="2 of at least 3 clinics are online; suspended: bert"):
        found.go()


def test_a_clinic_suspended_in_the_middle_of_a_round_is_not_waited_for(stage):
    found = stage(rounds=1, min_clinics=2, quorum=2)

    def fault(kind: str, name: str, round_: int) -> Any:
        if kind == "answer" and name == "bert":
            found.store.set_state("bert", "suspended", "by hand")
            return "silent"
        return None

    found.link.fault = fault
    found.go()
    assert found.checkpoints.records()[1]["refused"] == {"bert": "suspended"}


def test_a_strategy_gets_no_fewer_than_it_needs(stage):
    found = stage(rounds=1, strategy="median", quorum=2)
    found.link.fault = always("bert", "nan")
    with pytest.raises(RunFailed, match="the quorum is 3"):
        found.go()


# -- state of strategies ------------------------------------------------------------------------------------------------
class Drift:
    """A strategy with state: adds a number to the mean that doubles each round."""

    NAME, SETTINGS, least_clinics = "drift", StrategySettings, 1

    def __init__(self, settings: Any) -> None:
        pass

    def aggregate(self, round_: Any, state: Any) -> Outcome:
        mean = FedAvg(self.SETTINGS()).aggregate(round_, {})
        step = 2 * state["step"] if state else np.ones((2, 3), np.float32)
        for view in LAYOUT.section_views(mean.model):
            view += view.dtype.type(step[0, 0])
        return Outcome(mean.model, {"step": step, "rounds": np.array(round_.number)})


@pytest.fixture
def drift(monkeypatch):
    monkeypatch.setitem(strategies._KNOWN, "drift", Drift)


def test_a_strategys_state_is_part_of_the_checkpoint(stage, drift, layout):
    found = stage(rounds=4, strategy="drift")
    expected = found.go()
    state = found.checkpoints.latest().state()
    assert state["step"].tolist() == [[8.0] * 3] * 2 and state["step"].dtype == np.float32 and state["rounds"] == 4
    assert not list(stage(rounds=2).checkpoints._records.glob("*.state"))  # one without state writes none
    for damage in ("state", "gone", "weights"):
        for number in (4, 3):
            path = found.run.folder / f"round-{number:04}.state"
            if damage == "state":
                path.write_bytes(path.read_bytes()[:-1] + b"x")
            elif damage == "gone":
                path.unlink()
            else:
                found.checkpoints.weights_path(number).write_bytes(b"x")
        assert found.checkpoints.latest().round == 2
        assert found.go() == expected  # taken up with the state of round 2


# -- the end ------------------------------------------------------------------------------------------------------------
def test_a_closing_evaluation_without_a_quorum_leaves_the_model_and_says_so(stage, layout):
    found = stage(rounds=1, round_deadline_s=0.1, grace_s=0.1)

    def fault(kind: str, name: str, round_: int) -> Any:
        return "silent" if kind == "answer" and name != "anna" and len(found.link.sent) > 3 else None

    found.link.fault = fault
    model = found.go()
    layout.check(np.frombuffer(model, np.uint8))
    record = json.loads((found.run.folder / "model.json").read_text())
    assert set(record["evaluation"]) == {"anna"} and record["refused"] == {"bert": "late", "cleo": "late"}
    assert "closing evaluation" in found.said and "bert, cleo" in found.said and record["incomplete"] == found.said


def test_clinics_gone_before_the_closing_evaluation_cost_the_evaluation_only(stage, layout):
    found = stage(rounds=1, join_wait_s=0.2)

    def fault(kind: str, name: str, round_: int) -> Any:
        if kind == "answer" and name == "cleo":
            found.link.online = {"anna"}
        return None

    found.link.fault = fault
    layout.check(np.frombuffer(found.go(), np.uint8))
    assert "1 of at least 3" in found.said


def test_a_run_killed_just_before_its_end_writes_the_same_results_and_card_again(stage):
    found = stage()
    found.go()
    names = ("model.json", "results.json", "model-card.json", "model-card.md", "model-card.html")
    before = {name: (found.run.folder / name).read_bytes() for name in names}
    (found.run.folder / "model-card.html").unlink()
    found.run.set_state("running", 2)
    found.go()
    assert {name: (found.run.folder / name).read_bytes() for name in names} == before


def test_a_run_can_do_without_its_closing_evaluation(stage):
    model = stage(rounds=2).go()
    without = stage(rounds=2, closing_evaluation=False)
    asked_before = len(without.link.sent)
    assert without.go() == model and len(without.link.sent) - asked_before == 2 * len(NAMES)
    assert json.loads((without.run.folder / "model.json").read_text())["evaluation"] == {}
    assert "without closing evaluation" in without.said


# -- times --------------------------------------------------------------------------------------------------------------
def test_each_round_is_in_the_audit_log_with_the_models_it_sent_and_made(stage):
    found = stage(quorum=2)
    found.link.fault = once("answer", "bert", 2, "nan")
    found.go()
    lines = [d for e, d in found.audit if e == "round"]
    shas = [r["sha256"] for r in found.checkpoints.records()]
    assert [(d["model_sent"], d["model_made"]) for d in lines] == list(itertools.pairwise(shas))
    assert [d["clinics"] for d in lines] == [NAMES, ["anna", "cleo"], NAMES]
    assert [d["refused"] for d in lines] == [{}, {"bert": "not_finite"}, {}]


def test_while_it_waits_it_says_for_whom_since_when_until_when_and_what_then(stage):
    found = stage(rounds=1, quorum=2, round_deadline_s=0.6, grace_s=50)
    found.link.fault = once("answer", "bert", 1, "silent")
    said: list[dict[str, Any]] = []
    real = found.progress.wait
    found.progress.wait = lambda *a, **k: (real(*a, **k), said.append(found.progress.snapshot()))
    found.go()
    said = [x for x in said if x["phase"] == "training"]
    first, last = said[0]["waiting"], said[-1]["waiting"]
    assert first["for_"] == NAMES and "unless 2 have answered" in first["then"]
    assert first["until"] - first["since"] == pytest.approx(50.6)
    assert last["for_"] == ["bert"] and last["then"] == "the round ends without them"
    assert last["until"] - last["since"] == pytest.approx(0.6) == said[-1]["deadline_s"]


@pytest.mark.parametrize(
    ("right", "chosen"), [([5, 9, 6, 7], 1), ([5, 6, 7, 9], 3), ([5, 9, 9, 9], 1), ([9, 5, 6, 7], 0)]
)
def test_the_final_model_is_that_of_the_best_round_and_test_patients_are_asked_of_no_other(stage, right, chosen):
    s = stage(choose="best")
    s.link.right = dict(enumerate(right))
    model = s.go()
    assert model == s.checkpoints.weights_path(chosen).read_bytes()
    assert json.loads((s.run.folder / "model.json").read_text())["round"] == chosen
    assert {a for a in s.link.asked if a[0] != "train"} == {("validate", 3), ("evaluate", chosen)}
    lines = [(x["round"], x["clinic"], x["split"], x["day"]) for x in s.run.metrics()]
    assert len(set(lines)) == len(lines)
    s.link.right = {}


def test_without_a_choice_the_final_model_is_the_last_one(stage):
    s = stage()
    s.link.right = dict(enumerate([5, 9, 6, 7]))
    assert s.go() == s.checkpoints.weights_path(3).read_bytes()
    assert ("validate", 3) not in s.link.asked


def test_training_ends_early_when_validation_gets_no_better(stage):
    s = stage(rounds=9, patience=2, choose="best")
    s.link.right = dict(enumerate([5, 6, 9, 7, 8, 9, 10, 10, 10, 10]))
    assert s.go() == s.checkpoints.weights_path(2).read_bytes()
    stopped = [e for e in events(s.run) if e["kind"] == "stopped_early"]
    assert [(e["round"], e["best"]) for e in stopped] == [(5, 2)]  # the figures of round 4's model came with round 5
    assert max(r for k, r in s.link.asked if k == "train") == 5


def test_a_best_round_whose_weights_are_gone_is_said(stage):
    s = stage(choose="best")
    s.link.right = dict(enumerate([5, 9, 6, 7]))
    s.link.fault = lambda kind, name, round_: (
        s.checkpoints.weights_path(1).unlink(missing_ok=True) if (kind, round_) == ("send", 3) else None
    )
    assert s.go() == s.checkpoints.weights_path(3).read_bytes()
    assert "round 1, is damaged or gone" in s.said


def test_a_steered_clinic_is_sent_a_file_of_its_own_and_one_that_missed_a_round_is_steered_still(stage):
    s, seen = stage(strategy="scaffold", quorum=2, round_deadline_s=0.3, strategy_settings={}), []

    def fault(kind, name, round_):
        if kind == "answer":
            sent = sorted(p.name for p in s.checkpoints.weights_path(0).parent.glob("*-for-*"))
            seen.append((round_, name, f"round-{round_:04d}-for-{name}.safetensors" in sent))
            return "silent" if (name, round_) == ("bert", 2) else None
        return None

    s.link.fault = fault
    s.go()
    assert set(seen[:-3]) == {(r, n, r > 1) for r in (1, 2, 3) for n in NAMES}
    assert set(seen[-3:]) == {(3, n, False) for n in NAMES}  # the closing evaluation steers nobody
    assert not list(s.checkpoints.weights_path(0).parent.glob("*-for-*"))
