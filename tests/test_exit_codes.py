"""All programs use the exit codes of one table (docs/exit-codes.md)."""

import importlib
import re
import tomllib

import pytest

from embryofl import exits
from kits.house import ROOT, SERVICES

PROGRAMS = {
    name: target
    for path in SERVICES.glob("*/pyproject.toml")
    for name, target in tomllib.loads(path.read_text())["project"].get("scripts", {}).items()
}


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
