"""The gate: every way in which a reply can be wrong is rejected with its own reason."""

import json
from dataclasses import replace

import numpy as np
import pytest

from embryofl.messages import MAX_REPLY, Reply, Request
from embryofl.metrics import ScoreSums
from embryofl.schema import Download
from embryofl.settings import PRIVATE, RunSettings
from embryofl.wire import Layout
from embryofl_server.federation import gate
from embryofl_server.federation.blobs import ExpectedUpload
from embryofl_server.members.store import Clinic

SHA = "a" * 64
CLINIC = Clinic(
    "anna", "key", "enrolled", 0.0, "quality", {"counts": {"3": {"0": 30, "1": 20}, "5": {"0": 40, "1": "<5"}}}
)


@pytest.fixture
def request_(layout):
    return Request(
        kind="train",
        run="run-0001",
        round=2,
        clinic="anna",
        settings=RunSettings(),
        layout=layout.id,
        model=Download(url="/v1/model/x", size=layout.size, sha256=SHA),
        upload_url="/v1/update/x",
        deadline=1e9,
    )


def sums(count: int) -> dict:
    rng = np.random.default_rng(0)
    return ScoreSums.from_scores(rng.random(count), np.arange(count) % 2, np.full(count, 3)).to_dict()


def with_cohorts(cohorts: int) -> dict:
    """Sums over 20 embryos that claim to have this many cohorts."""
    value = sums(20)
    value["days"]["3"]["ranking"] |= {"cohorts": cohorts, "embryos": 2 * cohorts}
    return value


def reply(request_, **changes) -> str:
    body = {
        "kind": "train",
        "run": "run-0001",
        "round": 2,
        "layout": request_.layout,
        "examples": 60,
        "train_loss": 0.5,
        "update": {"size": request_.model.size, "sha256": SHA},
        "validation": sums(20),
    }
    return json.dumps(body | changes)


def pass_gate(request_, layout, packed, update, text, sha=SHA, state=None):
    path = update(1)
    if state is not None:
        np.asarray(state).tofile(path)
    ticket = ExpectedUpload(path, layout.size, sha)
    return gate.check(gate.parse(text, request_), request_, CLINIC, ticket, layout, packed(0))


def test_guesses_of_canaries_are_no_embryos_and_no_more_than_there_are_canaries(request_):
    settings = RunSettings(**PRIVATE, dp_epsilon=8, audit_canaries=300)
    audit = request_.model_copy(update={"kind": "audit", "upload_url": "", "settings": settings})
    few = replace(CLINIC, summary={"counts": {"3": {"0": 10, "1": 10}}})

    def check(guesses):
        text = json.dumps(
            {
                "kind": "audit",
                "run": "run-0001",
                "round": 2,
                "layout": audit.layout,
                "audit": {"canaries": sums(guesses)},
            }
        )
        return gate.check(gate.parse(text, audit), audit, few, None, None, None)

    assert check(200).reply.audit
    with pytest.raises(gate.ReplyRejected, match="guesses of 301 canaries, but the run has 300"):
        check(301)


def test_good_reply_passes_with_the_norm_of_its_update(request_, layout, packed, update):
    accepted = pass_gate(request_, layout, packed, update, reply(request_))
    old, new = (layout.tensor_views(packed(i)) for i in (0, 1))
    square = sum(float(((new[n].astype(float) - old[n].astype(float)) ** 2).sum()) for n in ("w", "b", "half"))
    assert accepted.norm == pytest.approx(square**0.5)
    assert accepted.update is not None and accepted.validation.summary().n == 20


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("malformed", {"scores": [0.1, 0.2]}),
        ("malformed", {"examples": "many"}),
        ("malformed", {"examples": -1}),
        ("malformed", {"protocol": 99}),
        ("malformed", {"device": "x" * MAX_REPLY}),
        ("wrong_run", {"run": "run-0002"}),
        ("wrong_run", {"round": 1}),
        ("wrong_run", {"kind": "evaluate"}),
        ("wrong_layout", {"layout": "f" * 16}),
        ("clinic_refused", {"refused": "not today, thank you"}),
        ("examples", {"examples": 0}),
        ("examples", {"examples": 113}),  # the clinic enrolled with at most 94, and a fifth is 18
        ("examples", {"examples": 10**12}),
        ("examples", {"examples": 93}),  # 93 and 20 for validation are more than 112
        ("malformed", {"train_loss": -0.5}),
        ("malformed", {"train_loss": 1e300}),
        ("no_upload", {"update": None}),
        ("wrong_digest", {"update": {"size": 1, "sha256": "b" * 64}}),
        ("metrics", {"validation": {"format": 1}}),
        ("metrics", {"validation": sums(200)}),
        ("metrics", {"test": {"auroc": 1.0}}),
        ("metrics", {"test": with_cohorts(30)}),
    ],
)
def test_wrong_reply_is_rejected_with_its_reason(request_, layout, packed, update, reason, changes):
    with pytest.raises(gate.ReplyRejected) as caught:
        pass_gate(request_, layout, packed, update, reply(request_, **changes))
    assert caught.value.reason == reason
    assert 10 < len(str(caught.value)) < 400  # words for the console


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"kind": NaN}', "[" * 100_000, '"\\ud800"'])
def test_text_that_is_not_a_reply_is_malformed(request_, text):
    with pytest.raises(gate.ReplyRejected) as caught:
        gate.parse(text, request_)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(("approved", "most"), [(50, 60), (94, 112), (10**9, 10**9 + 2 * 10**8)])
def test_clinic_cannot_count_more_embryos_than_were_approved_and_a_fifth(
    request_, layout, packed, update, approved, most
):
    """Whatever it reported on joining, and however slowly it counts more."""
    clinic = replace(CLINIC, summary={"counts": {"5": {"0": 10**9, "1": 10**9}}}, approved=approved)
    text = reply(request_, examples=most - 20)
    ticket = ExpectedUpload(update(1), layout.size, SHA)
    accepted = gate.check(gate.parse(text, request_), request_, clinic, ticket, layout, packed(0))
    assert accepted.reply.examples == most - 20
    text = reply(request_, examples=most - 19)
    with pytest.raises(gate.ReplyRejected, match="embryofl-server approve anna --images NUMBER") as caught:
        gate.check(gate.parse(text, request_), request_, clinic, ticket, layout, packed(0))
    assert caught.value.reason == "examples"


def test_reply_without_an_upload_is_rejected(request_, layout, packed):
    with pytest.raises(gate.ReplyRejected) as caught:
        gate.check(gate.parse(reply(request_), request_), request_, CLINIC, None, layout, packed(0))
    assert caught.value.reason == "no_upload"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tensor", ["w", "half"])
def test_update_with_one_number_that_is_not_finite_is_rejected(request_, layout, packed, update, value, tensor):
    state = packed(1)
    layout.tensor_views(state)[tensor].flat[-1] = value
    with pytest.raises(gate.ReplyRejected) as caught:
        pass_gate(request_, layout, packed, update, reply(request_), state=state)
    assert caught.value.reason == "not_finite"


@pytest.mark.parametrize("reason", ["wrong_size", "wrong_layout"])
def test_update_of_another_layout_is_rejected(request_, layout, packed, update, reason):
    state = packed(1)
    if reason == "wrong_size":
        state = state[:-8]
    else:
        state[12] ^= 1
    with pytest.raises(gate.ReplyRejected) as caught:
        pass_gate(request_, layout, packed, update, reply(request_), state=state)
    assert caught.value.reason == reason


def test_evaluation_needs_no_update(request_, layout, packed):
    request = request_.model_copy(update={"kind": "evaluate", "upload_url": ""})
    text = Reply(kind="evaluate", run="run-0001", round=2, layout=layout.id, test=sums(10)).model_dump_json()
    accepted = gate.check(gate.parse(text, request), request, CLINIC, None, layout, packed(0))
    assert accepted.update is None and accepted.test.summary().n == 10


def test_reply_of_a_suspended_clinic_is_rejected_without_fault(request_, layout, packed):
    suspended = Clinic("anna", "key", "suspended", 0.0, "quality", {})
    with pytest.raises(gate.ReplyRejected) as caught:
        gate.check(gate.parse(reply(request_), request_), request_, suspended, None, layout, packed(0))
    assert caught.value.reason == "suspended" and not caught.value.fault


# -- limits on the length of an update ----------------------------------------------------------------------------------
HONEST = {"anna": 1.0, "bert": 1.2, "cleo": 0.8}


def test_updates_much_longer_than_the_median_are_shortened_or_rejected():
    scales, refused = gate.judge_norms({**HONEST, "dora": 8.0, "emil": 1e6}, [], clip=5, bound=50)
    assert set(refused) == {"emil"} and "8.33e+05 times" in refused["emil"]
    assert scales == {"anna": 1.0, "bert": 1.0, "cleo": 1.0, "dora": pytest.approx(6.0 / 8.0)}


@pytest.mark.parametrize(("clip", "bound"), [(0, 0), (0, 50), (5, 0)])
def test_clipping_and_rejection_can_be_turned_off_separately(clip, bound):
    scales, refused = gate.judge_norms({**HONEST, "emil": 1e6}, [], clip, bound)
    assert set(refused) == ({"emil"} if bound else set())
    assert scales.get("emil", 1) < 1 if clip else scales["anna"] == 1


def test_two_updates_are_judged_only_against_the_round_before():
    assert gate.judge_norms({"anna": 1.0, "emil": 1e6}, [], 5, 50) == ({"anna": 1.0, "emil": 1.0}, {})
    scales, refused = gate.judge_norms({"anna": 1.0, "emil": 1e6}, [1.1, 0.9], 5, 50)
    assert set(scales) == {"anna"} and set(refused) == {"emil"}


def test_a_minority_of_tiny_or_long_updates_moves_no_bound():
    for odd in (0.0, 1e12):
        scales, _ = gate.judge_norms({**HONEST, "odd": odd}, [], 5, 50)
        assert all(scales[name] == 1.0 for name in HONEST)


def test_updates_are_not_judged_if_the_median_is_zero():
    assert gate.judge_norms(dict.fromkeys("abc", 0.0), [], 5, 50)[0] == dict.fromkeys("abc", 1.0)
    assert gate.judge_norms({"a": 0.0, "b": 0.0, "c": 1.0}, [], 5, 50)[1] == {}


def test_withheld_count_is_taken_as_the_largest_it_can_be():
    assert CLINIC.labelled == 30 + 20 + 40 + 4
    assert Clinic("a", "k", "enrolled", 0.0, "quality", {}).labelled is None


@pytest.mark.parametrize("dtype", ["F16", "F32", "F64"])
def test_distance_is_accurate_for_every_precision_and_size(tmp_path, dtype):
    layout = Layout.of({"w": (dtype, (70_000,)), "count": ("I64", (3,))})
    models = []
    rng = np.random.default_rng(1)
    for _ in range(2):
        packed = layout.empty()
        for view in layout.section_views(packed):
            view[:] = rng.normal(0, 1, view.size) if view.dtype.kind == "f" else rng.integers(9)
        models.append(packed)
    floats = [layout.tensor_views(m)["w"].astype(np.float64) for m in models]
    models[0].tofile(tmp_path / "update")
    assert gate.distance(tmp_path / "update", layout, models[1]) == pytest.approx(
        np.linalg.norm(floats[0] - floats[1]), rel=1e-5
    )
    if dtype != "F16":  # squares beyond single precision are a large distance, not "not finite"
        layout.tensor_views(models[0])["w"][5] = 1e30
        models[0].tofile(tmp_path / "update")
        assert gate.distance(tmp_path / "update", layout, models[1]) == pytest.approx(1e30)
