"""The walks of docs/architecture.md match the code: their modules exist, and each walk goes down."""

import re

import pytest

from kits.house import ROOT, imports, modules

PAGE = (ROOT / "docs" / "architecture.md").read_text()
WALKS = re.findall(
    r"^### ([^\n]+)\n(.+?)(?=^##)", PAGE.partition("## Three walks")[2].partition("## One round")[0] + "##", re.M | re.S
)


def legs():
    """Title of each walk, and the paths of each of its paragraphs in order."""
    for title, text in WALKS:
        for part in re.split(r"^\*\*", text, flags=re.M)[1:]:
            yield title, re.findall(r"^\d+\. `([\w/.]+)`", part, re.M)


def module_of(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.mark.parametrize(("title", "paths"), legs(), ids=lambda value: "" if isinstance(value, str) else value[0])
def test_walk_names_existing_modules_and_goes_down(title, paths):
    pairs = {(i.source, i.target) for i in imports()}
    names = [module_of(path) for path in paths]
    for number, (path, name) in enumerate(zip(paths, names, strict=True)):
        assert name in modules() or (ROOT / path).is_file(), f"{title}: {path} does not exist"
        if name not in modules() or not number:
            continue
        earlier = names[:number]
        called_by = {name, name.rpartition(".")[0]}  # a package's __init__ re-exports from its modules
        assert any((before, target) in pairs for before in earlier for target in called_by), (
            f"{title}: nothing before {path} imports it"
        )
        assert not any((name, before) in pairs for before in earlier), f"{title}: {path} imports what comes before it"


def test_there_are_three_walks():
    assert [title for title, _ in WALKS] == ["A round's weights", "A metric to Grafana", "An invite to the first task"]
    assert all(len(paths) > 1 for _, paths in legs())
