"""Every text that the clinic app shows is in one file, so that it can be translated."""

import ast
import re
from importlib import resources
from pathlib import Path

import pytest

import embryofl_clinic
from embryofl.messages import Reply
from embryofl_clinic.policy import sent
from embryofl_clinic.scoring import image_check
from embryofl_clinic.texts import texts
from embryofl_data.report.checks.quality import TESTS
from kits.texts import check_texts, prose_in_template

ROOT = Path(embryofl_clinic.__file__).parent
TEMPLATES = sorted((ROOT / "app" / "templates").iterdir())


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_template_has_no_prose(path):
    assert prose_in_template(path) == []


def test_script_and_style_have_no_prose():
    static = ROOT / "app" / "static"
    script = re.sub(r"^\s*//.*$", "", (static / "app.js").read_text(), flags=re.M)
    strings = set(re.findall(r'"([^"]*)"', script)) - {"use strict"}
    assert [s for s in strings if " " in s.strip() or s[:1].isupper()] == []
    assert not re.search(r"content:\s*[\"'](?!\\?[\"'])", (static / "app.css").read_text())


@pytest.mark.parametrize(
    "name", ["app/scoring_service.py", "app/pages.py", "app/records.py", "app/reporting.py", "scoring/image_check.py"]
)
def test_module_of_the_app_has_no_prose(name):
    """Strings with words in them are docstrings, log lines or fixed forms; `serve.py` prints to a terminal."""
    tree = ast.parse((ROOT / name).read_text())
    passed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(node.value)  # a docstring
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("log.", "re.")):
            passed |= set(ast.walk(node))
    strings = [
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and n not in passed
    ]
    assert [s for s in strings if re.search(r"[a-z]{3,}[.,;:]? [a-z]{2,}", s)] == []


def test_every_text_is_used_and_every_used_text_exists():
    """A text that nothing names is dead; a name without a text would fail a page (`StrictUndefined`)."""
    check_texts(texts, [*TEMPLATES, *ROOT.rglob("*.py")])


def test_every_kind_part_and_warning_has_a_text():
    t = texts
    assert set(t["quality"]) == set(TESTS)
    assert {"empty", "too_large", "too_small", "truncated", "unreadable"} <= set(t["unusable"])
    assert set(t["kind"]) == set(sent.Kind.__args__) and set(t["part"]) == set(sent.Part.__args__)
    assert set(t["became"]) == set(t["predicts"]) == set(t["of_100"])
    # the record of sent data covers every field of a reply
    assert set(Reply.model_fields) == {*sent.Part.__args__, *sent.FRAME}


def test_app_shows_a_changed_text(monkeypatch):
    monkeypatch.setitem(texts.unusable, "empty", "leer")
    assert image_check.inspect_image(b"", [64]).problem == "leer"
    assert resources.files("embryofl_clinic").joinpath("texts.toml").is_file()
