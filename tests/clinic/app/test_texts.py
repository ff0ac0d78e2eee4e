"""One file holds every word that the clinic's page shows, so that it can be translated."""

import ast
import re
from importlib import resources
from pathlib import Path
from string import Formatter

import pytest

import embryofl_clinic
from embryofl.messages import Reply
from embryofl_clinic import text
from embryofl_clinic.policy import sent
from embryofl_clinic.scoring import image_check
from embryofl_data.report.checks.quality import TESTS

ROOT = Path(embryofl_clinic.__file__).parent
TEMPLATES = sorted((ROOT / "app" / "templates").iterdir())
SPOKEN_ATTRIBUTES = ("alt", "title", "placeholder", "aria-label", "value", "content")
NO_WORDS = ("yes", "0;url=/", "width=device-width, initial-scale=1")
TECHNICAL = (": ", "; ", ", ")


def entries(section="", found=None):
    """All texts by `section.key`."""
    result = {}
    for key, value in (text.texts() if found is None else found).items():
        result |= entries(f"{key}.", value) if isinstance(value, dict) else {section + key: value}
    return result


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_no_words_of_its_own(path):
    page = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", path.read_text(), flags=re.S)
    attributes = [v for name in SPOKEN_ATTRIBUTES for v in re.findall(rf'\s{name}="([^"]*)"', page)]
    assert [v for v in attributes if re.search(r"[A-Za-z]{2}", v) and v not in NO_WORDS] == []
    assert re.findall(r"[A-Za-z]{2,}", re.sub(r"<[^>]*>", "", page)) == []


def test_the_script_and_the_style_have_no_words_of_their_own():
    static = ROOT / "app" / "static"
    script = re.sub(r"^\s*//.*$", "", (static / "app.js").read_text(), flags=re.M)
    strings = set(re.findall(r'"([^"]*)"', script)) - {"use strict"}
    assert [s for s in strings if " " in s.strip() or s[:1].isupper()] == []
    assert not re.search(r"content:\s*[\"'](?!\\?[\"'])", (static / "app.css").read_text())


@pytest.mark.parametrize(
    "name", ["app/scoring_service.py", "app/pages.py", "app/records.py", "app/reporting.py", "scoring/image_check.py"]
)
def test_a_module_of_the_page_has_no_words_of_its_own(name):
    """Strings with words in them are docstrings, log lines or fixed forms; `serve.py` speaks to a terminal."""
    tree = ast.parse((ROOT / name).read_text())
    passed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(node.value)  # a docstring
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("log.", "re.")):
            passed |= set(ast.walk(node))
    said = [
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and n not in passed
    ]
    assert [s for s in said if re.search(r"[a-z]{3,}[.,;:]? [a-z]{2,}", s)] == []


def test_every_text_is_used_and_every_text_that_is_used_is_there():
    """A key that nobody names is dead; a key without a text would end a page (`StrictUndefined`)."""
    code = "".join(
        p.read_text() for p in [*TEMPLATES, *ROOT.glob("app/*.py"), *ROOT.glob("scoring/*.py"), ROOT / "text.py"]
    )
    by_value = ("kind.", "part.", "became.", "predicts.", "of_100.", "quality.", "unusable.", "nav.", "door.")
    dead = [key for key in entries() if not key.startswith(by_value) and key.rpartition(".")[2] not in code]
    assert dead == []
    named = {f"{a}.{b}" for a, b in re.findall(r"\bt\.(\w+)\.(\w+)", "".join(p.read_text() for p in TEMPLATES))}
    assert named - set(entries()) == set()


def test_whatever_can_be_said_has_its_words():
    t = text.texts()
    assert set(t["quality"]) == {test.id for test in TESTS}
    assert {"empty", "too_large", "too_small", "truncated", "unreadable"} <= set(t["unusable"])
    assert set(t["kind"]) == set(sent.Kind.__args__) and set(t["part"]) == set(sent.Part.__args__)
    assert set(t["became"]) == set(t["predicts"]) == set(t["of_100"])
    # nothing that an answer can hold is left out of the record of what was sent
    assert set(Reply.model_fields) == {*sent.Part.__args__, *sent.FRAME}


def test_texts_are_plain_and_their_braces_are_whole():
    for key, words in entries().items():
        assert words.strip() and "<" not in words.replace("<5", ""), key
        list(Formatter().parse(words))


def test_a_translated_file_is_what_the_page_speaks(monkeypatch):
    other = {**text.texts(), "unusable": {**text.texts()["unusable"], "empty": "leer"}}
    monkeypatch.setattr(image_check.text, "texts", lambda: other)
    assert image_check.inspect_image(b"", [64]).problem == "leer"
    assert resources.files("embryofl_clinic").joinpath("texts.toml").is_file()
