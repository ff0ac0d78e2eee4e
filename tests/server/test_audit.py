"""The audit log: whatever is changed, removed or put in shows."""

import json

import pytest

from embryofl_server.audit import AuditLog, verify


@pytest.fixture
def path(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    for number in range(5):
        log.write("round", number=number, words="so — ünïcode")
    return tmp_path / "audit.jsonl"


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def test_a_whole_log_is_whole_also_across_restarts(path):
    assert verify(path) is None
    AuditLog(path).write("hub_started")
    assert verify(path) is None
    assert [json.loads(x)["event"] for x in lines(path)] == ["round"] * 5 + ["hub_started"]


@pytest.mark.parametrize(
    ("tamper", "where"),
    [
        (lambda x: [*x[:2], x[2].replace(b'"number": 2', b'"number": 7'), *x[3:]], 4),
        (lambda x: x[1:], 1),
        (lambda x: [*x[:2], *x[3:]], 3),
        (lambda x: [*x[:2], x[1], *x[2:]], 3),
        (lambda x: [x[1], x[0], *x[2:]], 1),
        (lambda x: [*x[:3], b"no json\n", *x[3:]], 4),
        (lambda x: [*x[:3], b"[1]\n", *x[3:]], 4),
        (lambda x: [*x[:3], b"\n", *x[3:]], 4),
    ],
    ids=["changed", "first removed", "removed", "repeated", "swapped", "not JSON", "no object", "empty line"],
)
def test_tampering_is_found_where_it_happened(path, tamper, where):
    path.write_bytes(b"".join(tamper(lines(path))))
    assert verify(path) == where


def test_a_line_torn_by_a_power_cut_is_dropped_and_the_log_goes_on(path):
    whole = lines(path)
    path.write_bytes(b"".join(whole[:4]) + whole[4][: len(whole[4]) // 2])
    assert verify(path) == 5
    AuditLog(path).write("hub_started")
    assert verify(path) is None
    assert [json.loads(x).get("number") for x in lines(path)] == [0, 1, 2, 3, None]


def test_only_a_torn_line(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"time": 1')
    AuditLog(path).write("hub_started")
    assert verify(path) is None and len(lines(path)) == 1
