"""The audit log: every change, removal and insertion is detected, even one at its end."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from embryofl_server.audit.log import DAMAGED, HEAD, AuditLog, Break, verify
from embryofl_server.audit.reading import Filter, format_event, select_events
from embryofl_server.cli import commands
from embryofl_server.members.store import ClinicStore

KEY = b"k" * 32
PUBLIC = Ed25519PrivateKey.from_private_bytes(KEY).public_key()


@pytest.fixture
def head(tmp_path):
    opened = ClinicStore(tmp_path / "clinics.db")
    yield opened
    opened.close()


@pytest.fixture
def path(tmp_path, head):
    log = AuditLog(tmp_path / "audit.jsonl", head, KEY)
    for number in range(5):
        log.write("round", number=number, words="so — ünïcode")
    return tmp_path / "audit.jsonl"


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def line_of(breaks: list[Break]) -> int | None:
    return breaks[0].line if breaks else None


def test_untouched_log_is_intact_across_restarts(path, head):
    assert verify(path, head.fact(HEAD), PUBLIC) == []
    AuditLog(path, head, KEY).write("hub_started")
    assert verify(path, head.fact(HEAD), PUBLIC) == []
    assert [json.loads(x)["event"] for x in lines(path)] == ["round"] * 5 + ["hub_started"]


TAMPERED = {
    "changed": (lambda x: [*x[:2], x[2].replace(b'"number": 2', b'"number": 7'), *x[3:]], 3),
    "first removed": (lambda x: x[1:], 1),
    "removed": (lambda x: [*x[:2], *x[3:]], 3),
    "repeated": (lambda x: [*x[:2], x[1], *x[2:]], 3),
    "inserted": (lambda x: [*x[:2], json.dumps({**json.loads(x[2]), "number": 9}).encode() + b"\n", *x[2:]], 3),
    "swapped": (lambda x: [x[1], x[0], *x[2:]], 1),
    "not JSON": (lambda x: [*x[:3], b"no json\n", *x[3:]], 4),
    "no object": (lambda x: [*x[:3], b"[1]\n", *x[3:]], 4),
    "empty line": (lambda x: [*x[:3], b"\n", *x[3:]], 4),
    "last changed": (lambda x: [*x[:4], x[4].replace(b'"number": 4', b'"number": 7')], 5),
    "last removed": (lambda x: x[:4], 5),
    "last two removed": (lambda x: x[:3], 4),
    "emptied": (lambda x: [], 1),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_tampering_is_found_where_it_happened(path, head, how):
    tamper, where = TAMPERED[how]
    path.write_bytes(b"".join(tamper(lines(path))))
    assert line_of(verify(path, head.fact(HEAD), PUBLIC)) == where


@pytest.mark.parametrize("how", TAMPERED)
def test_tampering_still_shows_after_later_events(path, head, how):
    tamper, _ = TAMPERED[how]
    path.write_bytes(b"".join(tamper(lines(path))))
    breaks = verify(path, head.fact(HEAD), PUBLIC)
    for _ in range(2):
        AuditLog(path, head, KEY).write("hub_started")
        assert verify(path, head.fact(HEAD), PUBLIC)
    reported = [json.loads(x) for x in lines(path) if DAMAGED.encode() in x]
    assert [(e["line_broken"], e["words"]) for e in reported] == [(b.line, b.message) for b in breaks]  # each once


def test_later_tampering_shows_behind_a_recorded_one(path, head):
    path.write_bytes(b"".join(TAMPERED["changed"][0](lines(path))))
    log = AuditLog(path, head, KEY)
    for number in range(3):
        log.write("later", number=number)
    recorded, known = lines(path), verify(path, head.fact(HEAD), PUBLIC)
    assert [broken.line for broken in known] == [3]
    path.write_bytes(b"".join(recorded[:-2]))
    assert {broken.line for broken in verify(path, head.fact(HEAD), PUBLIC)} == {3, len(recorded) - 1}
    path.write_bytes(b"".join([*recorded[:-2], recorded[-2].replace(b"later", b"after"), recorded[-1]]))
    assert {broken.line for broken in verify(path, head.fact(HEAD), PUBLIC)} == {3, len(recorded) - 1}
    AuditLog(path, head, KEY)
    assert lines(path)[-1].count(b"audit_damaged") == 1 and len(lines(path)) == len(recorded) + 1


def test_forged_line_at_the_end_is_an_incident_and_kept_apart(path, head):
    last = hashlib.sha256(lines(path)[-1].rstrip()).hexdigest()
    forged = {"time": 1, "event": "enrolled", "clinic": "mallory", "by": "coordinator", "previous": last}
    other = Ed25519PrivateKey.generate().sign(json.dumps(forged).encode())
    line = json.dumps({**forged, "signature": base64.b64encode(other).decode()}).encode() + b"\n"
    complete = path.read_bytes()
    path.write_bytes(complete + line)
    assert line_of(verify(path, head.fact(HEAD), PUBLIC)) == 6
    AuditLog(path, head, KEY).write("hub_started")
    assert path.read_bytes().startswith(complete) and b"mallory" not in path.read_bytes()
    (apart,) = path.parent.glob("audit-incident-*.jsonl")
    assert apart.read_bytes() == line and apart.stat().st_mode & 0o777 == 0o600
    (broken,) = verify(path, head.fact(HEAD), PUBLIC)
    assert broken.line == 6 and apart.name in broken.message


def test_log_that_was_forged_with_the_key_does_not_fit_the_anchor(path, head, tmp_path):
    anchor = tmp_path / "elsewhere"
    log = AuditLog(path, head, KEY, anchor)
    log.write("revoked", clinic="mallory")
    log.write("round")
    heads = anchor.read_text().splitlines()
    assert heads[-1] == head.fact(HEAD) and verify(path, head.fact(HEAD), PUBLIC, heads) == []
    path.write_bytes(b"".join(lines(path)[:5]))  # whoever has it all writes another history
    head.set_fact(HEAD, f"5 {hashlib.sha256(lines(path)[-1].rstrip()).hexdigest()}")
    forged = AuditLog(path, head, KEY)
    assert line_of(verify(path, head.fact(HEAD), PUBLIC, heads)) == 6  # cut off
    for _ in range(3):
        forged.write("round")
    assert verify(path, head.fact(HEAD), PUBLIC) == []
    assert [broken.line for broken in verify(path, head.fact(HEAD), PUBLIC, heads)] == [6, 7]


def test_unreachable_anchor_does_not_stop_the_hub(path, head, tmp_path, caplog):
    AuditLog(path, head, KEY, tmp_path / "gone" / "anchor").write("round")
    assert "cannot be written" in caplog.text and verify(path, head.fact(HEAD), PUBLIC) == []


def test_deleted_log_is_noticed(path, head):
    path.unlink()
    assert line_of(verify(path, head.fact(HEAD), PUBLIC)) == 1
    AuditLog(path, head, KEY).write("hub_started")
    assert verify(path, head.fact(HEAD), PUBLIC)


def test_line_torn_by_a_power_cut_is_dropped(path, head):
    complete, before = lines(path), head.fact("audit_head")
    digest = json.loads(complete[4])["previous"]
    head.set_fact("audit_head", f"4 {digest}")  # cut off while the fifth line was written
    path.write_bytes(b"".join(complete[:4]) + complete[4][: len(complete[4]) // 2])
    AuditLog(path, head, KEY).write("hub_started")
    assert verify(path, head.fact(HEAD), PUBLIC) == []
    assert [json.loads(x).get("number") for x in lines(path)] == [0, 1, 2, 3, None]
    assert head.fact("audit_head") != before


def test_line_without_its_head_counts(path, head):
    digest = json.loads(lines(path)[4])["previous"]
    head.set_fact("audit_head", f"4 {digest}")
    assert verify(path, head.fact(HEAD), PUBLIC) == []
    AuditLog(path, head, KEY).write("hub_started")
    assert verify(path, head.fact(HEAD), PUBLIC) == [] and len(lines(path)) == 6


def test_log_of_a_torn_line_only_starts_over(tmp_path, head):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"time": 1')
    AuditLog(path, head, KEY).write("hub_started")
    assert verify(path, head.fact(HEAD), PUBLIC) == [] and len(lines(path)) == 1


# -- the command --------------------------------------------------------------------------------------------------------
@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBRYOFL_STATE_DIR", str(tmp_path))
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "audit.pub").write_bytes(PUBLIC.public_bytes_raw())
    return lambda *words: CliRunner().invoke(commands.app, ["audit", *words])


def test_verify_says_intact_or_where_it_is_broken(path, command):
    done = command("verify")
    assert done.exit_code == 0 and "intact: 5 lines" in done.output
    path.write_bytes(b"".join(TAMPERED["changed"][0](lines(path))))
    done = command("verify")
    assert done.exit_code == 1 and "broken at line 3" in done.output


def test_verify_against_a_head_that_was_kept(path, head, command, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text(command("head").output)
    assert command("verify", "--against", str(kept)).exit_code == 0
    kept.write_text(f"7 {'0' * 64}\n")
    done = command("verify", "--against", str(kept))
    assert done.exit_code == 1 and "the anchor has recorded 7" in done.output
    kept.write_text("nonsense\n")
    assert "not an anchor" in str(command("verify", "--against", str(kept)).exception)


def test_show_filters_events(path, head, command, tmp_path):
    log = AuditLog(path, head, KEY)
    log.write("enrolled", clinic="anna", summary={"patients": 3})
    log.write("round", run="run-0002", clinics=["anna", "bert"], refused={"cleo": "norm"})
    log.write("update_refused", run="run-0002", clinic="cleo", reason="norm")
    assert [e["line"] for e in select_events(tmp_path, Filter(events=("enrolled",)))] == [6]
    assert [e["line"] for e in select_events(tmp_path, Filter(clinic="anna"))] == [6, 7]
    assert [e["line"] for e in select_events(tmp_path, Filter(clinic="cleo"))] == [7, 8]
    assert [e["line"] for e in select_events(tmp_path, Filter(run="run-0002", last=1))] == [8]
    assert select_events(tmp_path, Filter(since="2999-01-01")) == []
    assert len(select_events(tmp_path, Filter(since="2000-01-01"))) == 8
    output = command("show", "--clinic", "cleo").output
    assert "update_refused" in output and "reason=norm" in output and "enrolled" not in output
    assert json.loads(command("show", "--event", "enrolled", "--json").output)["clinic"] == "anna"
    bad = command("show", "--since", "yesterday")
    assert "yesterday" in str(bad.exception)


def test_log_text_cannot_control_the_terminal():
    line = format_event({"line": 1, "time": 0, "event": "enrolment_refused", "clinic": "\x1b[2Jx", "reason": "a b"})
    assert "\x1b" not in line and '"a b"' in line


def test_missing_log_is_reported_with_its_folder(command):
    done = command("verify")
    assert done.exit_code != 0 and "no audit log" in str(done.exception)
