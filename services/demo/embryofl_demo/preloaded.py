"""Processes that start in a tenth of a second, forked from one that has imported the programs already.

Importing PyTorch, Flower and the rest takes each clinic 5 s of CPU time, the SuperLink 3 s and the server 2 s. A
`Preloaded` process imports once and then forks: each program runs in a process of its own, with its own environment,
working folder, session and log, and dies by the same signals. What it does not have is a command line and an environment
of its own in /proc. The hub's programs can start while another process, forked from the first, imports the rest. Linux
only.
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
from typing import IO, Any, NoReturn

HUB_MODULES = (
    "embryofl_server.cli.commands",
    "embryofl_server.hub",
    "embryofl_server.api.app",
    "embryofl_server.state.signer.process",
    "embryofl_server.federation.superlink_process",
)
CLINIC_MODULES = ("embryofl_clinic.cli.commands", "embryofl_clinic.service")
JOINING = "embryofl_clinic.joining.join"
"""What hub and clinics import; the last, a clinic that joins with real data."""
HUB = ("signer", "server", "superlink")
"""Programs that need the hub's modules only."""
SET_PARENT_DEATH_SIGNAL, SET_NAME, SET_CHILD_SUBREAPER = 1, 15, 36  # prctl(2)
IMPORTED_S = 180.0


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
    """A process that imports the programs, in the background, and ends with this one.

    Parameters
    ----------
    place : Path
        What the programs belong to; shown in the list of processes.
    modules : sequence of str
        To import besides `HUB_MODULES`, for all programs but those of `HUB`.
    """

    def __init__(self, place: Path, modules: Sequence[str] = (*CLINIC_MODULES, JOINING)) -> None:
        # What the preloaded process forks and then leaves becomes our child, so that we can wait for it.
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1)
        self._hub, hub = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._others, others = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {"OMP_NUM_THREADS": "1", "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
        with hub, others:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(hub.fileno()), str(others.fileno()), str(place), *modules],
                stdin=subprocess.DEVNULL,
                pass_fds=[hub.fileno(), others.fileno()],
                env={**os.environ, **environment},
                start_new_session=True,  # Ctrl-C is for this process
            )
        for connection in (self._hub, self._others):
            connection.settimeout(IMPORTED_S)

    def can_start(self, command: Sequence[str]) -> bool:
        """Whether it is a Python program of this environment, and the preloaded process is there to fork."""
        if self._process.poll() is not None:
            return False
        if command[0] == sys.executable:
            return True
        script = Path(command[0])
        return script.is_absolute() and script.read_bytes().startswith(f"#!{sys.executable}\n".encode())

    def start(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        out: IO[bytes],
        error: IO[bytes],
        given: IO[bytes] | None = None,
    ) -> Forked:
        """Start a program (a Python script and its arguments) in a session of its own; `given` is its input, if any."""
        order = {"name": name, "command": list(command), "env": dict(env), "folder": str(Path.cwd())}
        with Path(os.devnull).open("rb") as nothing:
            files = [file.fileno() for file in (given or nothing, out, error)]
            connection = self._hub if name in HUB else self._others
            socket.send_fds(connection, [json.dumps(order).encode()], files)
        return Forked(int(connection.recv(100)))

    def close(self) -> None:
        """End the preloaded processes; what they have started goes on."""
        self._hub.close()
        self._others.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def serve(hub: socket.socket, others: socket.socket, modules: Sequence[str]) -> None:
    """Import the programs, then fork one for each order until the other side closes the connection. The orders of `others`
    are done by a process of their own, which imports `modules` as well."""
    atexit.register(_leave)  # the first one to be registered is the last one to be called
    _import(HUB_MODULES)
    if os.fork():
        others.close()
        _do_orders(hub)
    else:
        hub.close()
        _import(modules)
        _do_orders(others)


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # or a collection would copy all pages
    assert threading.active_count() == 1, threading.enumerate()  # a fork would lose the others


def _do_orders(connection: socket.socket) -> None:
    while True:
        order, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
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
    prctl = ctypes.CDLL(None).prctl
    prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    prctl(SET_NAME, order["name"].encode())
    connection.close()
    os.setsid()
    for target, source in enumerate(descriptors):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    sys.argv = order["command"][order["command"][0] == sys.executable :]
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
    serve(socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2])), sys.argv[4:])
