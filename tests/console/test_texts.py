"""Every text that the console shows is in one file."""

import ast
import re
from pathlib import Path

import pytest

import embryofl_console
from embryofl_console.texts import texts
from kits.texts import check_texts, prose_in_template

ROOT = Path(embryofl_console.__file__).parent
MODULES, TEMPLATES = sorted(ROOT.rglob("*.py")), sorted((ROOT / "templates").iterdir())
PAGES = [path for path in MODULES if path.parent.name == "pages" or path.name == "context.py"]


def test_every_text_is_used_and_every_used_text_exists():
    check_texts(texts, [*MODULES, *TEMPLATES])


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_template_has_no_prose(path):
    assert prose_in_template(path) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page_has_no_prose_in_its_code(path):
    tree = ast.parse(path.read_text())
    docstrings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and n not in docstrings]
    prose = [s for s in strings if isinstance(s, str) and re.search(r"[A-Za-z]{3,}[.,;:]? [a-z]{2,}[ .]", s)]
    assert [s for s in prose if "=" not in s and not s.startswith("sandbox; ")] == []
