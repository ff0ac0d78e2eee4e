"""Checks of a package's `texts.toml` against the code and templates that use it."""

import re
from pathlib import Path
from string import Formatter

from embryofl.texts import Texts

_SHOWN = ("alt", "title", "placeholder", "aria-label", "value", "content")
_NO_WORDS = ("yes", "0;url=/", "width=device-width, initial-scale=1")


def entries(texts: Texts, above: str = "") -> dict[str, str]:
    """All texts by `section.key`, those of a list by `section.key.number`."""
    result: dict[str, str] = {}
    for key, value in texts.items():
        if isinstance(value, Texts):
            result |= entries(value, f"{above}{key}.")
        elif isinstance(value, tuple):
            flat = [text for each in value for text in (each if isinstance(each, list) else [each])]
            result |= {f"{above}{key}.{number}": text for number, text in enumerate(flat)}
        else:
            result[above + key] = value
    return result


def used(files: list[Path]) -> set[str]:
    """Names of texts in files: `texts.a.b`, `t.a.b` in templates (`web.a.b` in those of the web kit), and `t.b` after
    `t = texts.a`.

    A section that is used by value (`texts.a[key]`, `texts.a.get(key)`, `texts.a.items()`) is `a.*`.
    """
    names: set[str] = set()
    for file in files:
        code = file.read_text("utf-8")
        aliases = (
            re.findall(r"^\s*(\w+) = texts\.(\w+)$", code, re.M)
            if file.suffix == ".py"
            else [(_in_templates(file), "")]
        )
        for alias, section in aliases:
            code = re.sub(rf"(?<![\w./]){alias}(?=[.\[])", f"texts.{section}".rstrip("."), code)
        for section, key in re.findall(r"(?<![\w.])texts\.(?!toml)(\w+)(\.\w+|\[)?", code):
            by_value = key in ("[", ".get", ".items", ".values")
            names.add(f"{section}.*" if by_value else section + key)
    return names


def _in_templates(file: Path) -> str:
    """What templates call the texts of their package."""
    return "web" if "embryofl_web" in file.parts else "t"


def check_texts(texts: Texts, files: list[Path]) -> None:
    """Every text is used, every text that is used exists, and each can be filled in."""
    sections = {key for key, value in texts.items() if isinstance(value, Texts)}
    keys = {f"{a}.{b}" for a in sections for b in texts[a]} | set(texts) - sections
    names = {name if name.partition(".")[0] in sections else name.partition(".")[0] for name in used(files)}
    assert sorted(k for k in keys - names if f"{k.partition('.')[0]}.*" not in names) == [], "unused texts"
    assert sorted(n for n in names - keys - sections if not n.endswith(".*")) == [], "missing texts"
    assert sorted(n for n in names & keys if set(n.split(".")) & set(dir(dict))) == [], "names of dict's methods"
    for key, text in entries(texts).items():
        assert text.strip() and "<" not in text.replace("<5", ""), key
        list(Formatter().parse(text))


def prose_in_template(path: Path) -> list[str]:
    """Words that a template has itself instead of naming a text."""
    page = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", path.read_text("utf-8"), flags=re.S)
    shown = [v for name in _SHOWN for v in re.findall(rf'\s{name}="([^"]*)"', page)]
    words = [v for v in shown if re.search(r"[A-Za-z]{2}", v) and v not in _NO_WORDS]
    return words + re.findall(r"[A-Za-z]{2,}", re.sub(r"<[^>]*>", "", page))
