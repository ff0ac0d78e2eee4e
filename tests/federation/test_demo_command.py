"""`make demo` from its user's view: it can be stopped at any time, leaves no process, resumes, and reports errors."""

import json
import signal
import socket
import time

import pytest

from kits.federation import WAIT_S, draw_clinic, until
from kits.ports import free_port

SMALL = ["--set", "model=small_cnn", "--set", "image_size=48", "--set", "local_epochs=1", "--set", "batch_size=16"]
STOP_S = 10.0 + 20.0  # as documented, and some more for a busy machine


@pytest.fixture
def two_clinics(tmp_path):
    data = tmp_path / "hospitals"
    for name in ("east", "west"):
        draw_clinic(data / name, name)
    return data


@pytest.mark.slow
def test_demo_stopped_in_any_way_leaves_no_process_and_resumes(demo, two_clinics):
    words = ["--data", str(two_clinics), "--set", "rounds=1000", *SMALL]
    # Ctrl-C
    demo.start(*words)
    until("two rounds", lambda: demo.rounds() >= 2)
    code, text = demo.quick("status")
    assert code == 0 and "clinic-2" in text and "of 1000" in text
    assert len(demo.left()) >= 6
    began = time.monotonic()
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(WAIT_S) == 130
    assert time.monotonic() - began < STOP_S and demo.left() == []
    assert "Traceback" not in demo.text()
    code, text = demo.quick("status")
    assert code == 0 and "not running" in text
    done = len(demo.events("round"))

    # it resumes, and the supervisor is killed
    demo.start(*words)
    until("another round", lambda: demo.rounds() > done)
    assert demo.events("resumed")[-1]["round"] >= done and "continues after round" in demo.text()
    rounds = [e["round"] for e in demo.events("round")]
    assert rounds == list(range(1, len(rounds) + 1))
    demo.process.kill()
    demo.process.wait()
    until("the killed supervisor's children are gone", lambda: not demo.left(), STOP_S)
    done = len(demo.events("round"))

    # it resumes again, and is stopped from another terminal
    demo.start(*words)
    until("another round", lambda: demo.rounds() > done)
    began = time.monotonic()
    code, text = demo.quick("down")
    assert code == 0 and "Stopped" in text
    demo.process.wait(WAIT_S)
    assert time.monotonic() - began < STOP_S and demo.left() == []

    # no clinic joined again, and no round was repeated or skipped
    audit = [json.loads(x) for x in (demo.root / "hub" / "audit.jsonl").read_text().splitlines()]
    assert sorted(e["clinic"] for e in audit if e["event"] == "enrolled") == ["clinic-1", "clinic-2"]
    rounds = [e["round"] for e in demo.events("round")]
    assert rounds == list(range(1, len(rounds) + 1))
    code, text = demo.quick("down")
    assert code == 0 and "No demo" in text


@pytest.mark.slow
def test_demo_ends_with_the_model_at_the_clinics_and_the_app_opens(demo, two_clinics):
    code, text = demo.quick("app", "clinic-1")
    assert code == 2 and "make demo" in text
    words = ["up", "--data", str(two_clinics), "--port", str(free_port()), "--set", "rounds=1"]
    code, text = demo.run(*words, *SMALL)
    assert code == 0 and "The clinics have the model" in text, text
    weights = {p.read_bytes() for p in demo.root.glob("clinics/*/models/run-0001/model.safetensors")}
    assert weights == {(demo.root / "hub" / "runs" / "run-0001" / "model.safetensors").read_bytes()}
    assert len(list(demo.root.glob("clinics/*/models/run-0001/model.json"))) == 2 and demo.left() == []
    code, text = demo.quick("app", "berlin")
    assert code == 2 and "clinic-1, clinic-2" in text and "Traceback" not in text
    with socket.create_server(("127.0.0.1", 0)) as taken:  # the app itself reports that it cannot listen here
        code, text = demo.quick("app", "clinic-2", "--port", str(taken.getsockname()[1]))
    assert code == 2 and "name another --port" in text


def test_second_demo_at_the_same_time_is_rejected(demo, two_clinics):
    words = ["--data", str(two_clinics), "--set", "rounds=1000", *SMALL]
    demo.start(*words)
    until("it has begun", lambda: "1/4" in demo.text())
    code, text = demo.quick("up", *words, "--port", str(free_port()))
    assert code == 2 and "already running" in text and "make down" in text


def test_clinic_that_cannot_train_ends_the_demo_with_the_reason(demo, two_clinics):
    draw_clinic(two_clinics / "zero", "zero", label=0)
    code, text = demo.run("up", "--data", str(two_clinics), "--port", str(free_port()), *SMALL)
    assert code == 2 and "clinic-3" in text and "Traceback" not in text
    assert "label" in text or "class" in text
    assert demo.left() == []


def test_port_in_use_is_reported(demo, two_clinics):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, text = demo.quick("up", "--data", str(two_clinics), "--port", str(port))
    assert code == 2 and f"Port {port} is in use" in text and "Traceback" not in text
    assert demo.left() == []


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("ronuds=3", "rounds"),
        ("model=resnet999", "small_cnn"),
        ("strategy=fedmagic", "fedavg"),
        ("rounds", "name=value"),
        ("rounds=many", "rounds"),
        ("learning_rate=-1", "learning_rate"),
    ],
)
def test_invalid_setting_is_reported_before_anything_starts(demo, two_clinics, setting, words):
    code, text = demo.quick("up", "--data", str(two_clinics), "--set", setting)
    assert code == 2 and setting.split("=")[0] in text and words in text and "Traceback" not in text
    assert not (demo.folder / "demo").exists()


@pytest.mark.parametrize("kind", ["empty", "missing", "a file", "no images"])
def test_unusable_data_folder_is_reported(demo, tmp_path, kind):
    data = tmp_path / "data"
    if kind == "a file":
        data.write_text("x")
    elif kind != "missing":
        data.mkdir()
    if kind == "no images":
        (data / "letter.txt").write_text("x")
    code, text = demo.quick("up", "--data", str(data), "--clinics", "2", "--port", str(free_port()))
    assert code == 2 and "data" in text and "Traceback" not in text
    assert demo.left() == []
