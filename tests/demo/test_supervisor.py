"""The supervisor restarts what crashes, reports what the user must fix, and leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from embryofl.errors import UserError
from embryofl_demo import supervisor as module
from embryofl_demo.control import ControlSocket
from embryofl_demo.supervisor import Supervisor, last_lines

pytestmark = pytest.mark.integration

WAIT_S = 60.0


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def until(ready) -> None:
    end = time.monotonic() + WAIT_S
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "RESTART_FIRST_S", 0.01)
    monkeypatch.setattr(module, "RESTART_MOST_S", 0.02)


@pytest.fixture
def supervisor(tmp_path):
    started = Supervisor(tmp_path / "logs")
    yield started
    started.stop()


def test_killed_child_is_restarted(supervisor):
    supervisor.start("sleeper", python("import time; time.sleep(600)"), {})
    first = supervisor.pids()["sleeper"]
    os.kill(first, signal.SIGKILL)

    def back() -> bool:
        supervisor.check()
        return supervisor.pids()["sleeper"] != first

    until(back)
    assert gone(first) and not gone(supervisor.pids()["sleeper"])


def test_child_that_keeps_crashing_is_given_up_with_the_end_of_its_log(supervisor):
    supervisor.start("crasher", python("print('step one'); print('the reason'); raise SystemExit(3)"), {})

    def given_up() -> bool:
        try:
            supervisor.check()
        except UserError as exc:
            assert "crasher" in str(exc) and "the reason" in str(exc) and "exit code 3" in str(exc)
            return True
        return False

    until(given_up)
    assert (supervisor.logs / "crasher.log").read_text().count("the reason") == module.CRASHES


def test_child_that_reports_a_user_error_is_not_restarted(supervisor):
    supervisor.start("clinic-2", python("print('Both classes are needed.'); raise SystemExit(2)"), {})

    def reported() -> bool:
        try:
            supervisor.check()
        except UserError as exc:
            assert "clinic-2" in str(exc) and "Both classes are needed." in str(exc)
            return True
        return False

    until(reported)
    assert (supervisor.logs / "clinic-2.log").read_text().count("needed") == 1


def test_crash_after_a_steady_time_restarts_the_count(supervisor, monkeypatch):
    monkeypatch.setattr(module, "STEADY_S", 0.0)
    supervisor.start("sometimes", python("raise SystemExit(1)"), {})
    log = []

    def often() -> bool:
        pid = supervisor.pids()["sometimes"]
        if pid not in log:
            log.append(pid)
        supervisor.check()
        return len(log) > module.CRASHES + 2

    until(often)


STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def test_stop_leaves_no_process_even_if_one_ignores_sigterm(supervisor, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "STOP_S", 0.5)
    supervisor.start("willing", python("import time; time.sleep(600)"), {})
    supervisor.start("stubborn", python(STUBBORN), {})
    until(lambda: "up" in (tmp_path / "logs" / "stubborn.log").read_text())
    pids = supervisor.pids().values()
    supervisor.stop()
    assert all(gone(pid) for pid in pids)


def test_last_children_are_stopped_after_all_others(supervisor, tmp_path):
    note = f"""
import signal, sys, time
def bye(*_):
    open({str(tmp_path / "order")!r}, 'a').write(sys.argv[1] + '\\n')
    raise SystemExit
signal.signal(signal.SIGTERM, bye)
print('up', flush=True)
time.sleep(600)
"""
    supervisor.start("base", [*python(note), "base"], {}, last=True)
    supervisor.start("user", [*python(note), "user"], {})
    for name in ("base", "user"):
        until(lambda name=name: "up" in (tmp_path / "logs" / f"{name}.log").read_text())
    supervisor.stop()
    assert (tmp_path / "order").read_text().split() == ["user", "base"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a child when its parent dies")
def test_children_end_when_the_supervisor_is_killed(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from embryofl_demo.control import ControlSocket
from embryofl_demo.supervisor import Supervisor
s = Supervisor(Path({str(tmp_path)!r}))
s.start('stubborn', [sys.executable, '-c', {STUBBORN!r}], {{}})
while 'up' not in (Path({str(tmp_path)!r}) / 'stubborn.log').read_text(): time.sleep(0.02)
print(s.pids()['stubborn'], flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert not gone(child)
    parent.kill()
    parent.wait()
    until(lambda: gone(child))


def test_last_lines_of_a_log_skip_empty_lines(tmp_path: Path):
    (tmp_path / "log").write_bytes(b"one\n\ntwo\n\xff three\n\n")
    assert last_lines(tmp_path / "log", 2).splitlines()[0] == "two"


def test_clinic_stopped_on_request_stays_stopped_until_it_is_requested_again(supervisor, monkeypatch):
    monkeypatch.setattr(module, "STOP_S", 0.2)
    supervisor.start(
        "clinic-1",
        python("import signal, time; signal.signal(15, lambda *_: 0)\nwhile 1: time.sleep(1)"),
        {},
        optional=True,
    )
    first = supervisor.pids()["clinic-1"]
    supervisor.request("clinic-1", running=False)

    def stopped() -> bool:
        supervisor.check()
        return supervisor.optional_states() == {"clinic-1": "stopped"}

    until(stopped)  # although it ignores SIGTERM
    for _ in range(20):
        supervisor.check()
        time.sleep(0.01)
    assert gone(first) and supervisor.pids()["clinic-1"] == first  # not treated as a crash
    supervisor.request("clinic-1", running=True)
    assert supervisor.optional_states() == {"clinic-1": "starting"}
    supervisor.check()
    assert supervisor.optional_states() == {"clinic-1": "running"} and supervisor.pids()["clinic-1"] != first


def test_control_socket_is_private_and_controls_only_test_clinics(supervisor):
    supervisor.start("clinic-1", python("import time; time.sleep(600)"), {}, optional=True)
    supervisor.start("server", python("import time; time.sleep(600)"), {})
    control = ControlSocket(supervisor)
    try:
        until(control.socket.exists)
        assert control.socket.parent.stat().st_mode & 0o077 == 0
        transport = httpx.HTTPTransport(uds=str(control.socket))
        with httpx.Client(transport=transport, base_url="http://demo") as client:
            assert client.get("/clinics").json() == {"clinic-1": "running"}
            for name in ("server", "nobody", "..%2fserver"):
                response = client.post(f"/clinics/{name}/stop")
                assert response.status_code in (400, 404), name
            assert "Expected one of: clinic-1." in client.post("/clinics/server/stop").json()["error"]
            client.post("/clinics/clinic-1/stop")
            until(lambda: client.get("/clinics").json() == {"clinic-1": "stopped"})
        supervisor.check()
        assert not gone(supervisor.pids()["server"])
    finally:
        control.close()
    assert not control.socket.parent.exists()
