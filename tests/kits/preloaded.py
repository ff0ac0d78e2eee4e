"""Processes that start in a tenth of a second, forked from one that has imported the programs already.

Importing PyTorch, Flower and the rest takes each clinic 5 s of CPU time, the SuperLink 3 s and the server 2 s: of a federation that trains
for a second, nearly all. A `Preloaded` process imports once and then forks: each program runs in a process of its own, with its own
environment, working folder, session and log, and dies by the same signals. What it does not have is a command line and an
environment of its own in /proc, so tests that look there start programs as users do.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, BinaryIO, NoReturn

from embryofl_demo.supervisor import Child, Supervisor

TESTS = Path(__file__).parents[1]
MODULES = (
    "embryofl_server.cli",
    "embryofl_server.cli.commands",
    "embryofl_server.hub",
    "embryofl_server.api.app",
    "embryofl_clinic.app.serve",
    "embryofl_clinic.cli",
    "embryofl_clinic.joining.commands",
    "embryofl_clinic.scoring.score",
    "embryofl_clinic.service",
    "embryofl_clinic.workload.embryo",
    "embryofl_data.report.page",
    "embryofl_data.report.run",
    "embryofl_data.report.terminal",
    "flwr.superlink.cli",
)
PROGRAMS = {"embryofl-server", "embryofl-clinic", "flower-superlink", "quick_clinic.py"}
SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


class Forked:
    """A child of this process, as `subprocess.Popen` shows one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Exit code, minus the signal's number after a signal, or None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """The exit code; `subprocess.TimeoutExpired` if it still runs after `timeout` seconds."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Preloaded:
    """A process that has imported the programs, one for each process that uses it, started at the first use."""

    _by_user: dict[int, "Preloaded"] = {}

    def __init__(self) -> None:
        # What the preloaded process forks and then leaves becomes our child, so that we can wait for it.
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep),
            "OMP_NUM_THREADS": "1",
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kits.preloaded", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
            )
        self._socket.settimeout(180)

    @classmethod
    def of_this_process(cls) -> "Preloaded":
        """The one that this process uses."""
        if os.getpid() not in cls._by_user:
            cls._by_user[os.getpid()] = cls()
        return cls._by_user[os.getpid()]

    def start(self, command: Sequence[str], env: Mapping[str, str], out: IO[bytes], error: IO[bytes]) -> Forked:
        """Start a program (a Python script and its arguments) in a session of its own, without input."""
        order = json.dumps({"command": list(command), "env": dict(env), "folder": os.getcwd()}).encode()
        socket.send_fds(self._socket, [order], [out.fileno(), error.fileno()])
        return Forked(int(self._socket.recv(100)))


def run(command: Sequence[str], env: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run one of the programs to its end; it is killed after `timeout` seconds (`subprocess.TimeoutExpired`)."""
    with TemporaryFile() as out, TemporaryFile() as error:
        program = Preloaded.of_this_process().start(command, env, out, error)
        try:
            code = program.wait(timeout)
        finally:
            program.kill()
        texts = []
        for file in (out, error):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(command, code, *texts)


def script_of(command: Sequence[str]) -> list[str]:
    """A command without the Python in front of its script."""
    return list(command[command[0] == sys.executable :])


class PreloadedChild(Child):
    """A process to be kept running, forked where that is possible."""

    def launch(self, env: Mapping[str, str], out: BinaryIO) -> Any:
        """The process, of which the supervisor needs what `Forked` has."""
        if Path(script_of(self.command)[0]).name not in PROGRAMS:
            return super().launch(env, out)
        return Preloaded.of_this_process().start(self.command, env, out, out)


class PreloadedSupervisor(Supervisor):
    """A supervisor of such processes."""

    child = PreloadedChild


def serve(connection: socket.socket) -> None:
    """Import the programs, then fork one for each order until the other side closes the connection."""
    atexit.register(_leave)  # the first one to be registered is the last one to be called
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()  # or a collection would copy all pages
    assert threading.active_count() == 1, threading.enumerate()  # a fork would lose the others
    while True:
        order, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
        if not order:
            return
        pid_read, pid_write = os.pipe()
        if (middle := os.fork()) == 0:
            if program := os.fork():
                os.write(pid_write, str(program).encode())
                os._exit(0)
            _become(json.loads(order), descriptors, connection)
        os.waitpid(middle, 0)  # the program then is a child of the one that gave the order
        connection.send(os.read(pid_read, 100))
        for descriptor in (pid_read, pid_write, *descriptors):
            os.close(descriptor)


def _become(order: dict[str, Any], descriptors: list[int], connection: socket.socket) -> NoReturn:
    """Turn this process into the program of an order."""
    while os.getppid() != _USER:  # until the process in the middle has ended
        time.sleep(0.001)
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    connection.close()
    os.setsid()
    with open(os.devnull, "rb") as nothing:
        for target, source in enumerate((nothing.fileno(), *descriptors)):
            os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    sys.argv = script_of(order["command"])
    sys.path[0] = str(Path(sys.argv[0]).parent)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as exc:
        _ended.append(exc.code if isinstance(exc.code, int) else int(exc.code is not None))
        raise
    except BaseException:
        _ended.append(1)
        raise
    _ended.append(0)
    sys.exit()


_ended: list[int] = []
"""The exit code of a program that has ended."""


def _leave() -> None:
    """End without taking all modules apart first, which costs more than most programs."""
    if _ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_ended[0])


if __name__ == "__main__":
    _USER = os.getppid()
    serve(socket.socket(fileno=int(sys.argv[1])))
