"""Checkpoints: only complete rounds count; the hub falls back from a damaged round to the one before."""

import hashlib
import tracemalloc

import numpy as np
import pytest

from embryofl_server.federation import checkpoint
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.runs.metric_lines import best_round


@pytest.fixture
def rounds(tmp_path):
    return Checkpoints(tmp_path / "runs", tmp_path / "weights", keep=3)


def test_newest_round_is_read_as_it_was_saved(rounds, packed, layout):
    assert rounds.latest() is None
    for number in range(3):
        rounds.save(number, packed(number), {"clinics": {}, "note": number})
    latest = rounds.latest()
    assert latest.round == 2 and latest.record["note"] == 2
    assert latest.packed().tobytes() == packed(2).tobytes() and latest.layout().id == layout.id
    assert latest.record["sha256"] == hashlib.sha256(packed(2).tobytes()).hexdigest()
    assert [r["round"] for r in rounds.records()] == [0, 1, 2]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone", "json cut", "json empty"])
def test_damaged_round_is_skipped_for_the_one_before(rounds, packed, damage, tmp_path):
    for number in range(3):
        rounds.save(number, packed(number), {})
    weights, record = rounds.weights_path(2), tmp_path / "runs" / "round-0002.json"
    data = bytearray(weights.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
        weights.write_bytes(data)
    elif damage == "cut":
        weights.write_bytes(data[:100])
    elif damage == "empty":
        weights.write_bytes(b"")
    elif damage == "gone":
        weights.unlink()
    else:
        record.write_text(record.read_text()[:20] if damage == "json cut" else "")
    latest = rounds.latest()
    assert latest.round == 1 and latest.packed().tobytes() == packed(1).tobytes()
    assert [r["round"] for r in rounds.records()] == [0, 1]
    rounds.save(2, packed(2), {})  # the round is repeated
    assert rounds.latest().round == 2


def test_power_cut_between_weights_and_record_loses_only_that_round(rounds, packed, monkeypatch):
    rounds.save(0, packed(0), {})
    real = checkpoint.write_atomic

    def cut(path, data, mode=0o644):
        if path.suffix == ".json":
            raise SystemExit("power cut")
        real(path, data, mode)

    monkeypatch.setattr(checkpoint, "write_atomic", cut)
    with pytest.raises(SystemExit):
        rounds.save(1, packed(1), {})
    monkeypatch.undo()
    assert rounds.weights_path(1).exists() and rounds.latest().round == 0
    rounds.save(1, packed(7), {})
    assert rounds.latest().packed().tobytes() == packed(7).tobytes()


def test_old_weights_are_removed_but_the_initial_model_and_all_records_are_kept(rounds, packed, tmp_path):
    for number in range(8):
        rounds.save(number, packed(number), {})
    kept = sorted(p.stem for p in (tmp_path / "weights").iterdir())
    assert kept == ["round-0000", "round-0005", "round-0006", "round-0007"]
    assert len(rounds.records()) == 8
    for number in (5, 6, 7):
        rounds.weights_path(number).write_bytes(b"damaged")
    assert rounds.latest().round == 0  # better to start over than to fail


def test_best_weights_are_kept_while_they_are_the_best(rounds, packed, tmp_path):
    def kept():
        return sorted(int(p.stem.removeprefix("round-")) for p in (tmp_path / "weights").iterdir())

    for number in range(9):
        rounds.save(number, packed(number), {}, best=2 if number < 7 else 5)
        if number == 6:
            assert kept() == [0, 2, 4, 5, 6]
    assert kept() == [0, 5, 6, 7, 8]


def test_best_round_is_the_one_with_the_highest_pooled_auroc():
    def line(round_, auroc, clinic="pooled", split="validation", day=None):
        return {"round": round_, "clinic": clinic, "split": split, "day": day, "auroc": auroc}

    lines = [
        line(0, 0.5),
        line(1, 0.7),
        line(2, None),
        line(3, 0.7),
        line(4, 0.6),
        line(5, 0.9, clinic="anna"),
        line(6, 0.9, split="test"),
        line(7, 0.9, day=5),
    ]
    assert best_round(lines) == (1, 0.7)  # the first if equal
    assert best_round([]) is None


STATE = {"momentum": np.arange(6, dtype=np.float32).reshape(2, 3), "second": np.ones(4), "steps": np.array(7)}


def test_state_of_a_strategy_is_read_as_it_was_saved(rounds, packed, tmp_path):
    for number in range(6):
        rounds.save(number, packed(number), {}, STATE if number != 4 else {})
    state = rounds.latest().state()
    assert {n: (a.dtype, a.tolist()) for n, a in state.items()} == {n: (a.dtype, a.tolist()) for n, a in STATE.items()}
    assert sorted(p.name for p in (tmp_path / "runs").glob("*.state")) == ["round-0003.state", "round-0005.state"]


@pytest.mark.parametrize("damage", ["flip", "gone"])
def test_round_with_a_damaged_state_is_skipped_for_the_one_before(rounds, packed, tmp_path, damage):
    for number in range(3):
        rounds.save(number, packed(number), {}, STATE)
    path = tmp_path / "runs" / "round-0002.state"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data) if damage == "flip" else path.unlink()
    assert rounds.latest().round == 1 and rounds.latest().state()["steps"] == 7


def test_weights_are_ordinary_safetensors(rounds, packed, layout):
    from safetensors.numpy import load_file

    saved = rounds.save(0, packed(3, count=9), {})
    read = load_file(saved.weights)
    assert all(np.array_equal(read[n], v) for n, v in layout.tensor_views(packed(3, count=9)).items())


def test_masked_sum_is_read_back_without_a_second_one_in_memory(rounds, tmp_path):
    (tmp_path / "runs").mkdir()
    total = np.arange(1 << 20, dtype="<u4")
    rounds.save_masked(1, "{}", total)
    tracemalloc.start()
    record, read = rounds.masked(1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert record.strip() == "{}" and (read == total).all() and most < 1.5 * total.nbytes
