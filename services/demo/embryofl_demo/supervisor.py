"""Starts processes, keeps them running, stops them in order."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from embryofl import exits
from embryofl.errors import UserError
from embryofl_demo.preloaded import Forked, Preloaded

log = logging.getLogger("embryofl.demo")

RESTART_FIRST_S, RESTART_MOST_S = 0.5, 10.0
STEADY_S = 20.0  # a crash after this time starts the count of crashes again at one
CRASHES = 5  # crashes in a row after which a process is not restarted
STOP_S, KILL_S = 4.0, 1.0  # time to end after SIGTERM, then after SIGKILL


@dataclass
class Child:
    """A process to be kept running.

    Attributes
    ----------
    last : bool
        Stopped after all others.
    needed : bool
        Without it the supervisor gives up; without one that is not needed the rest continues.
    optional : bool
        May be stopped and started again by `request`.
    preloaded : Preloaded or None
        What it is forked from, if it can be.
    """

    name: str
    command: list[str]
    env: Mapping[str, str]
    log: Path
    last: bool = False
    needed: bool = True
    optional: bool = False
    preloaded: Preloaded | None = None
    process: subprocess.Popen[bytes] | Forked = field(init=False)
    began: float = 0.0
    crashes: int = 0
    restart_at: float = 0.0
    requested: bool = True
    kill_at: float = 0.0  # SIGKILL for one that was requested to stop and has not

    def spawn(self) -> None:
        """Start the process."""
        with self.log.open("ab") as out:
            self.process = self._launch({**os.environ, **self.env}, out)
        self.began, self.kill_at, self.restart_at = time.monotonic(), 0.0, 0.0

    def _launch(self, env: Mapping[str, str], out: BinaryIO) -> subprocess.Popen[bytes] | Forked:
        """The command as a process, in a session of its own, whose output goes to `out`."""
        if self.preloaded is not None and self.preloaded.can_start(self.command):
            return self.preloaded.start(self.name, self.command, env, out, out)
        return subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=env,
            start_new_session=True,  # Ctrl-C is for the supervisor, which stops the children in order
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
        )

    @property
    def given_up(self) -> bool:
        """Whether it has crashed too often to be started again."""
        return self.crashes >= CRASHES

    @property
    def state(self) -> str:
        """One of `embryofl.states.PROCESS`."""
        alive = self.process.poll() is None
        if not self.requested:
            return "stopping" if alive else "stopped"
        if alive:
            return "running"
        return "failed" if self.given_up else "starting"


class Supervisor:
    """Child processes of this one.

    Parameters
    ----------
    logs : Path
        Folder of the log files, one per child, appended to.
    preloaded : Preloaded or None (default: None)
        What children are forked from, where that is possible.

    Attributes
    ----------
    children : dict of str to Child
        By name.
    """

    def __init__(self, logs: Path, preloaded: Preloaded | None = None) -> None:
        self.logs, self._preloaded = logs, preloaded
        logs.mkdir(parents=True, exist_ok=True)
        self.children: dict[str, Child] = {}
        self._lock = threading.Lock()  # between `check` and `request`, which is called from another thread

    def start(self, name: str, command: list[str], env: Mapping[str, str], **options: bool) -> None:
        """Start a child; `options` are attributes of `Child`."""
        child = Child(name, command, env, self.logs / f"{name}.log", preloaded=self._preloaded, **options)
        child.spawn()
        self.children[name] = child

    def check(self) -> None:
        """Restart children that have died.

        Raises
        ------
        UserError
            When a needed child reports that the user must act (exit code 2), or crashes again and again.
        """
        for child in self.children.values():
            with self._lock:
                self._restart_if_dead(child)

    def _restart_if_dead(self, child: Child) -> None:
        code, now = child.process.poll(), time.monotonic()
        if code is None and child.kill_at and now > child.kill_at:
            child.process.kill()
        if not child.requested or code is None or (child.given_up and not child.needed):
            return
        if child.restart_at:
            if now >= child.restart_at:
                child.spawn()
            return
        if code == exits.USER_ERROR and child.needed:
            raise UserError("S10", f"{child.name} cannot continue:\n{last_lines(child.log)}")
        child.crashes = 1 if now - child.began > STEADY_S else child.crashes + 1
        crashed = f"{child.name} ended {CRASHES} times in a row (exit code {code})"
        if child.given_up and child.needed:
            raise UserError("S10", f"{crashed}. The end of {child.log}:\n{last_lines(child.log)}")
        if child.given_up:
            log.warning("%s and is not restarted; see %s", crashed, child.log)
            return
        delay = min(RESTART_FIRST_S * 2 ** (child.crashes - 1), RESTART_MOST_S)
        log.warning("%s ended (exit code %s) and is restarted in %.1f s", child.name, code, delay)
        child.restart_at = now + delay

    def request(self, name: str, *, running: bool) -> None:
        """Stop an optional child, or have the next `check` start it again. Its absence is then no crash.

        May be called from any thread. Nothing is started here: Linux would end the child with the calling thread.

        Raises
        ------
        UserError
            When there is no such child.
        """
        with self._lock:
            child = self.children.get(name)
            if child is None or not child.optional:
                raise UserError(
                    "S7",
                    f"There is no test clinic {name!r}. Expected one of: {', '.join(self.optional_states()) or 'none'}.",
                )
            if running == child.requested:
                return
            if running:
                child.crashes, child.restart_at = 0, time.monotonic()
            elif child.process.poll() is None:
                child.kill_at = time.monotonic() + STOP_S
                child.process.terminate()
            child.requested = running

    def optional_states(self) -> dict[str, str]:
        """State of each optional child."""
        return {c.name: c.state for c in list(self.children.values()) if c.optional}

    def pids(self) -> dict[str, int]:
        """Process ids of the children, by name."""
        return {c.name: c.process.pid for c in self.children.values()}

    def stop(self) -> None:
        """Stop everything, the `last` ones at the end; nothing is left after at most 2 x (STOP_S + KILL_S) seconds."""
        for batch in (False, True):
            _stop([c.process for c in self.children.values() if c.last is batch])


def _stop(processes: list[subprocess.Popen[bytes] | Forked]) -> None:
    for number, patience in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, KILL_S)):
        live = [p for p in processes if p.poll() is None]
        for process in live:
            process.send_signal(number)
        end = time.monotonic() + patience
        for process in live:
            try:
                process.wait(max(0.01, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue


def last_lines(path: Path, count: int = 6) -> str:
    """The end of a log, without empty lines."""
    lines = [x for x in path.read_text(errors="replace").splitlines() if x.strip()]
    return "\n".join(lines[-count:])


def _die_with_parent() -> None:
    """Linux: have the child killed with the supervisor, so that nothing is left behind, not even a clinic in training."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
