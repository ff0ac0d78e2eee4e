"""`embryofl-demo` as a user runs it, in a folder of its own."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

import psutil

from embryofl_demo.stack import program
from kits.federation import WAIT_S, processes_of
from kits.ports import free_port
from kits.preloaded import run


class Demo:
    """`embryofl-demo` with its own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "EMBRYOFL_DEMO_DIR": str(self.folder / "demo"), "COLUMNS": "200"}

    def start(self, *words: str) -> None:
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [program("embryofl-demo"), "up", "--port", str(free_port()), *words],
                stdout=out,
                stderr=out,
                env=self._environment(),
            )

    def run(self, *words: str) -> tuple[int, str]:
        """Exit code and output of a command."""
        done = subprocess.run(
            [program("embryofl-demo"), *words],
            capture_output=True,
            text=True,
            env=self._environment(),
            timeout=WAIT_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def quick(self, *words: str) -> tuple[int, str]:
        """The same of a command that starts no federation; it is forked, which saves two seconds."""
        done = run([program("embryofl-demo"), *words], self._environment(), WAIT_S)
        return done.returncode, done.stdout + done.stderr

    def text(self) -> str:
        return self.out.read_text(errors="replace")

    def left(self) -> list[str]:
        """Command lines of this demo's processes that are still running."""
        commands = []
        for process in processes_of(self.folder / "demo"):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                commands.append(" ".join(process.cmdline())[:200])
        return commands

    @property
    def root(self) -> Path:
        return next((self.folder / "demo").glob("*/supervisor.pid")).parent

    def events(self, kind: str) -> list[dict]:
        files = sorted(self.root.glob("hub/runs/*/events.jsonl"))
        return [e for f in files for e in map(json.loads, f.read_text().splitlines()) if e["kind"] == kind]

    def rounds(self) -> int:
        assert self.process is not None
        assert self.process.poll() is None, self.text()
        return len(self.events("round")) if list((self.folder / "demo").glob("*/supervisor.pid")) else 0
