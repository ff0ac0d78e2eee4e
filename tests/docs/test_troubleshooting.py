"""Every error names a code of troubles.toml, every code is named by an error, and the page is made from the table."""

import ast
import pickle
import re
import subprocess
import sys
import tomllib

import pytest
from typer.testing import CliRunner

from embryofl.errors import DataError, NotFiniteError, UserError, with_code
from embryofl.troubles import explain_code
from embryofl_clinic.cli.commands import app as clinic
from embryofl_server.cli.commands import app as hub
from kits.house import ROOT, SERVICES

TROUBLES = tomllib.loads((SERVICES / "common" / "embryofl" / "troubles.toml").read_text())
AREAS = TROUBLES.pop("areas")
CODE = re.compile(rf"[{''.join(AREAS)}][1-9]\d?")
SOURCES = {path: ast.parse(path.read_text()) for path in [*SERVICES.rglob("*.py"), ROOT / "scripts" / "doctor.py"]}


def error_classes():
    """`UserError` and the classes that derive from it, without those that have one code of their own."""
    names, bases = {"UserError"}, {}
    for tree in SOURCES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and "__init__" not in {getattr(part, "name", "") for part in node.body}:
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}
    while more := {name for name, above in bases.items() if above & names} - names:
        names |= more
    return names


def codes_in_shell():
    """The codes that shell scripts and the Makefile give to `fail` or `coded`, and calls of these without one."""
    codes, without = set(), []
    for path in [ROOT / "Makefile", *ROOT.glob("scripts/*.sh")]:
        for line in path.read_text().splitlines():
            for call in re.findall(r"(?:^|[\s({])(?:fail|coded) (?!\()(\S+)", line.partition("# ")[0]):
                if CODE.fullmatch(call):
                    codes.add(call)
                elif call != '"$@"':
                    without.append(f"{path.name}: {line.strip()}")
    return codes, without


def codes_in_python():
    constants = (n.value for tree in SOURCES.values() for n in ast.walk(tree) if isinstance(n, ast.Constant))
    return {value for value in constants if isinstance(value, str) and CODE.fullmatch(value)}


def test_every_error_has_a_code_of_the_table():
    """As its first argument, where it is made."""
    classes, found, wrong = error_classes(), 0, []
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes:
                found += 1
                first = node.args[0] if node.args else None
                if not isinstance(first, ast.Constant) or first.value not in TROUBLES:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found > 200
    assert wrong == []


def test_every_error_of_the_scripts_has_a_code_of_the_table():
    codes, without = codes_in_shell()
    assert without == []
    assert len(codes) > 8 and codes <= set(TROUBLES)


def test_every_code_in_the_code_is_in_the_table_and_the_other_way_round():
    assert codes_in_python() | codes_in_shell()[0] == set(TROUBLES)


def test_every_trouble_has_an_area_a_title_a_cause_and_a_remedy():
    for code, trouble in TROUBLES.items():
        assert CODE.fullmatch(code) and set(trouble) == {"title", "cause", "remedy"}, code
        assert all(text.strip() for text in trouble.values()) and "\n" not in trouble["title"], code


def test_the_page_is_made_from_the_table():
    done = subprocess.run([sys.executable, "scripts/troubleshooting.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "docs/troubleshooting.md is out of date: python scripts/troubleshooting.py"


@pytest.mark.parametrize("program", [clinic, hub])
def test_clinic_and_hub_explain_a_code(program):
    shown = CliRunner().invoke(program, ["explain", "j2"]).output
    assert TROUBLES["J2"]["title"] in shown and "Do: Ask the coordinator for a new one" in shown


def test_a_code_that_does_not_exist_is_not_explained():
    with pytest.raises(UserError, match="There is no code J99"):
        explain_code("J99")


@pytest.mark.parametrize("kind", [UserError, DataError, NotFiniteError])
def test_an_error_ends_with_the_address_of_its_trouble(kind):
    assert str(kind("J2", "Fix it.")) == "Fix it. (J2: docs/troubleshooting.md#j2)"


def test_the_code_of_an_error_of_several_lines_has_a_line_of_its_own():
    assert str(UserError("S10", "It ended:\nlast line")).splitlines()[-1] == "(S10: docs/troubleshooting.md#s10)"


def test_an_error_that_is_passed_on_keeps_its_own_code():
    told = str(UserError("J2", "This invite has expired."))
    assert str(UserError("C6", f"The hub rejected this clinic: {told}")).endswith(told)
    assert with_code("C6", told) == told


def test_an_error_can_be_sent_between_processes():
    sent = pickle.loads(pickle.dumps(DataError("D1", "There is no folder.")))
    assert (type(sent), sent.code, sent.text) == (DataError, "D1", "There is no folder.")
