"""All programs use the exit codes of one table (docs/exit-codes.md)."""

import importlib
import re
import subprocess
import sys
import tomllib

import pytest

from embryofl import exits
from embryofl.errors import UserError, run_command
from kits.house import ROOT, SERVICES

PROGRAMS = {
    name: target
    for path in SERVICES.glob("*/pyproject.toml")
    for name, target in tomllib.loads(path.read_text())["project"].get("scripts", {}).items()
}


def raises(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(("error", "code"), [(UserError("J2", "Fix it."), 2), (KeyboardInterrupt(), 130)])
def test_errors_and_interruptions_end_with_their_codes(error, code, capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(raises(error))
    assert ended.value.code == code
    assert capsys.readouterr().err == ("Fix it. (J2: docs/troubleshooting.md#j2)\n" if code == 2 else "")


def test_sigterm_interrupts_a_command():
    code = "import signal\nfrom embryofl.errors import run_command\nrun_command(lambda: signal.raise_signal(signal.SIGTERM))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (exits.INTERRUPTED, b"")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_uses_the_table(program, monkeypatch, capsys):
    module, _, function = PROGRAMS[program].partition(":")
    main = getattr(importlib.import_module(module), function)
    for arguments, code in ((["--help"], exits.DONE), (["--no-such-option"], exits.USER_ERROR)):
        monkeypatch.setattr("sys.argv", [program, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code, (program, arguments)
    assert "Traceback" not in capsys.readouterr().err


def test_the_document_has_the_same_codes_and_names_every_program():
    text = (ROOT / "docs" / "exit-codes.md").read_text()
    codes = [exits.DONE, exits.NO, exits.USER_ERROR, exits.INTERRUPTED]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)] == codes
    assert all(f"`{program}`" in text for program in PROGRAMS)
