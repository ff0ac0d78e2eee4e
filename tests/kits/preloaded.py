"""The preloaded process of a test process: federations and short commands are forked from it."""

import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from tempfile import TemporaryFile

from embryofl_demo.preloaded import CLINIC_MODULES, JOINING, Preloaded
from kits import KITS

MORE = (
    "embryofl_clinic.app.serve",
    "embryofl_clinic.joining.commands",
    "embryofl_clinic.scoring.score",
    "embryofl_data.report.page",
    "embryofl_data.report.run",
    "embryofl_data.report.terminal",
)


@cache
def preloaded() -> Preloaded:
    """The one of this process, started at the first use."""
    return Preloaded(KITS, [*CLINIC_MODULES, JOINING, *MORE])


def run(
    command: Sequence[str], env: Mapping[str, str], timeout: float, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run one of the programs to its end; it is killed after `timeout` seconds (`subprocess.TimeoutExpired`)."""
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as error:
        given.write(stdin.encode())
        given.seek(0)
        program = preloaded().start("command", command, env, out, error, given)
        try:
            code = program.wait(timeout)
        finally:
            program.kill()
        texts = []
        for file in (out, error):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(command, code, *texts)
