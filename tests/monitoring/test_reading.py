"""Growing files are read once, and the times when clinics were last seen are kept."""

import os
import threading
import time

import pytest

from embryofl_server.federation.fleet import FleetLost
from embryofl_server.monitor.presence import Presence
from embryofl_server.runs.jsonlines import JsonLines
from kits.federation import until


def test_only_new_complete_lines_are_returned(tmp_path):
    path = tmp_path / "lines"
    reader = JsonLines(path)
    assert reader.read() == (False, [])
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert reader.read() == (False, [{"a": 1}, {"a": 2}])
    with path.open("a") as file:
        file.write(": 3}\n")
    assert reader.read() == (False, [{"a": 3}])
    assert reader.read() == (False, [])


def test_file_replaced_by_a_longer_one_is_continued(tmp_path):
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\n')
    reader = JsonLines(path)
    reader.read()
    other = tmp_path / "other"
    other.write_text('{"a": 1}\n{"a": 2}\n')
    os.replace(other, path)
    assert reader.read() == (False, [{"a": 2}])


@pytest.mark.parametrize("text", ['{"b": 1}\n{"b": 2}\n{"b": 3}\n', '{"a": 1}\n', ""])
def test_different_beginning_starts_afresh(tmp_path, text):
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    reader = JsonLines(path)
    reader.read()
    path.write_text(text)
    restarted, lines = reader.read()
    assert restarted and len(lines) == text.count("\n")


def test_last_seen_times_survive_a_restart_and_a_damaged_file_is_ignored(tmp_path):
    path = tmp_path / "last_seen.json"
    online, seen = Presence(lambda: {"anna": True, "bert": False}, path).now()
    assert online == {"anna": True, "bert": False} and set(seen) == {"anna"}
    assert Presence(dict, path).now() == ({}, seen)
    path.write_text("damaged")
    assert Presence(dict, path).now() == ({}, {})


def test_unreachable_superlink_is_distinguished_from_no_clinic_online(tmp_path):
    def away():
        raise FleetLost("away")

    assert Presence(away, tmp_path / "last_seen.json").now() == (None, {})


def test_superlink_is_polled_once_for_all_callers(tmp_path):
    asked = []
    presence = Presence(lambda: asked.append(1) or {}, tmp_path / "last_seen.json")
    for _ in range(5):
        presence.now()
    assert len(asked) == 1


def test_hanging_superlink_does_not_delay_callers_for_long(tmp_path):
    hangs = threading.Event()
    presence = Presence(lambda: hangs.wait(30) and {}, tmp_path / "last_seen.json")
    began = time.monotonic()
    assert presence.now() == (None, {}) and time.monotonic() - began < 5
    hangs.set()
    assert until("it replies", lambda: presence.now()[0] == {}, 10)
