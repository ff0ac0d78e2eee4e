"""Start processes, keep them running, stop them in order."""

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

from embryofl.errors import UserError

log = logging.getLogger("embryofl.demo")

RESTART_FIRST_S, RESTART_MOST_S = 0.5, 10.0
STEADY_S = 20.0  # a process that ran this long was fine; its next crash starts the count anew
CRASHES = 5  # so many crashes in a row and the demo gives up
USER_ERROR = 2  # exit code of our commands for an error the user must put right
STOP_S, KILL_S = 4.0, 1.0  # patience after SIGTERM, then after SIGKILL


@dataclass
class Child:
    """A process to be kept running."""

    name: str
    command: list[str]
    env: Mapping[str, str]
    log: Path
    last: bool = False
    needed: bool = True
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    crashes: int = 0
    restart_at: float = field(default=0.0)
    steered: bool = False  # may be stopped and started again by `want`
    wanted: bool = True
    kill_at: float = 0.0  # of one that was told to stop: when patience ends


class Supervisor:
    """Child processes of this one.

    Parameters
    ----------
    logs : Path
        Folder of the log files, one a child, appended to.

    Attributes
    ----------
    children : dict of str to Child
        By name.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        logs.mkdir(parents=True, exist_ok=True)
        self.children: dict[str, Child] = {}
        self._lock = threading.Lock()  # between `check` and `want`, which is called from another thread

    def start(
        self,
        name: str,
        command: list[str],
        env: Mapping[str, str],
        *,
        last: bool = False,
        needed: bool = True,
        steered: bool = False,
    ) -> None:
        """Start a child; `last` ones are stopped after all others. Without one that is not `needed` the rest goes on; one
        that is `steered` may be stopped for a while (`want`)."""
        child = Child(name, command, env, self.logs / f"{name}.log", last, needed, steered=steered)
        self.children[name] = child
        self._spawn(child)

    def _spawn(self, child: Child) -> None:
        with child.log.open("ab") as out:
            child.process = subprocess.Popen(
                child.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **child.env},
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops the children in order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        child.began, child.kill_at = time.monotonic(), 0.0

    def check(self) -> None:
        """Start again what has died.

        Raises
        ------
        UserError
            When a child says that the user must act (exit code 2), or crashes again and again.
        """
        for child in self.children.values():
            with self._lock:
                self._look_after(child)

    def _look_after(self, child: Child) -> None:
        assert child.process is not None
        code, now = child.process.poll(), time.monotonic()
        if code is None and child.kill_at and now > child.kill_at:
            child.process.kill()
        if not child.wanted or code is None or (child.crashes >= CRASHES and not child.needed):
            return
        if child.restart_at == 0.0:
            if code == USER_ERROR and child.needed:
                raise UserError(f"{child.name} cannot go on:\n{last_lines(child.log)}")
            child.crashes = 1 if now - child.began > STEADY_S else child.crashes + 1
            if child.crashes >= CRASHES and not child.needed:
                log.warning("%s ended %d times in a row and is left out; see %s", child.name, CRASHES, child.log)
                return
            if child.crashes >= CRASHES:
                raise UserError(
                    f"{child.name} ended {CRASHES} times in a row (exit code {code}). The end of {child.log}:\n"
                    f"{last_lines(child.log)}"
                )
            delay = min(RESTART_FIRST_S * 2 ** (child.crashes - 1), RESTART_MOST_S)
            log.warning("%s ended (exit code %s); it is started again in %.1f s", child.name, code, delay)
            child.restart_at = now + delay
        elif now >= child.restart_at:
            child.restart_at = 0.0
            self._spawn(child)

    def want(self, name: str, *, running: bool) -> None:
        """Have a steered child stopped, or started again at the next `check`. That it is away then is no crash.

        May be called from any thread. Nothing is started here: Linux would end the child with the calling thread.

        Raises
        ------
        UserError
            When there is no such child.
        """
        with self._lock:
            child = self.children.get(name)
            if child is None or not child.steered:
                raise UserError(
                    f"There is no test clinic {name!r}. Those here: {', '.join(self.steerable()) or 'none'}."
                )
            assert child.process is not None
            if running == child.wanted:
                return
            if running:
                child.crashes, child.restart_at = 0, time.monotonic()
            elif child.process.poll() is None:
                child.kill_at = time.monotonic() + STOP_S
                child.process.terminate()
            child.wanted = running

    def steerable(self) -> dict[str, str]:
        """State of the steered children: running, stopping, starting, stopped, or failed again and
        again."""
        return {c.name: _state_of(c) for c in list(self.children.values()) if c.steered and c.process is not None}

    def pids(self) -> dict[str, int]:
        """Process ids of the children, by name."""
        return {c.name: c.process.pid for c in self.children.values() if c.process is not None}

    def stop(self) -> None:
        """Stop everything, first all but the `last` ones; nothing is left after 2 x (STOP_S + KILL_S) seconds at most."""
        for batch in (False, True):
            _stop([c.process for c in self.children.values() if c.last is batch and c.process is not None])


def _state_of(child: Child) -> str:
    assert child.process is not None
    alive = child.process.poll() is None
    if not child.wanted:
        return "stopping" if alive else "stopped"
    if alive:
        return "running"
    return "failed" if child.crashes >= CRASHES else "starting"


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
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
    """Linux: be killed when the supervisor is, so that nothing is left behind, not even a clinic in training."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
