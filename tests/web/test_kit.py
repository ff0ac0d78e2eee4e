"""The kit of the pages: its texts, its sessions, its script and stylesheet."""

import re
from pathlib import Path

import pytest

import embryofl_web
from embryofl_web import sessions
from embryofl_web.guard import POLICY, STATUS
from embryofl_web.texts import texts
from kits.texts import check_texts, prose_in_template

ROOT = Path(embryofl_web.__file__).parent
TEMPLATES = sorted((ROOT / "templates").iterdir())


def test_every_text_is_used_and_every_used_text_exists():
    check_texts(texts, [*TEMPLATES, *ROOT.rglob("*.py")])
    assert set(texts.access) == set(STATUS)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_template_has_no_prose(path):
    assert prose_in_template(path) == []


def test_script_and_style_load_nothing_and_need_no_exception_from_the_policy():
    script, style = ((ROOT / "static" / name).read_text() for name in ("web.js", "web.css"))
    assert "unsafe" not in POLICY and "http" not in POLICY
    assert not re.search(r"\beval\b|new Function|innerHTML =|\.style\b|https?:", script)
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"content:\s*[\"'](?!\\?[\"'])", style)  # no words in it


def test_every_class_in_the_stylesheet_is_used():
    services = ROOT.parents[1]
    markup = "".join(p.read_text() for pattern in ("*.j2", "*.py", "*.js") for p in services.rglob(pattern))
    classes = set(
        re.findall(
            r"\.([a-z][\w-]*)", re.sub(r"/\*.*?\*/|\d\.\d+", "", (ROOT / "static" / "web.css").read_text(), flags=re.S)
        )
    )
    assert sorted(c for c in classes if not re.search(rf"\b{c}\b", markup)) == []


def test_session_expires_and_too_many_end_the_oldest(monkeypatch):
    every = sessions.Sessions()
    names = [every.open() for _ in range(sessions.MOST_SESSIONS + 1)]
    assert [every.is_valid(name) for name in names] == [False] + [True] * sessions.MOST_SESSIONS
    every.close(names[-1])
    assert not every.is_valid(names[-1]) and not every.is_valid("")
    now = sessions.time.monotonic()
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now + sessions.SESSION_S + 60)
    assert not any(map(every.is_valid, names))
