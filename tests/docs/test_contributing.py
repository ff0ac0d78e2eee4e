"""docs/contributing.md names files, folders and commands that exist."""

import re

from kits.house import ROOT

PAGE = (ROOT / "docs" / "contributing.md").read_text()
RECIPES = [
    "The deadline rule",
    "A strategy",
    "A metric and its panel",
    "An importer",
    "A setting of a run",
    "A message between hub and clinic",
    "An error text",
]


def test_every_file_that_the_page_names_exists():
    named = set(re.findall(r"`((?:services|tests|docs|prometheus|grafana|scripts|bench)/[\w./-]*)`", PAGE))
    named |= set(re.findall(r"python ((?:scripts|grafana)/\w+\.py)", PAGE))
    assert len(named) > 30
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_every_make_command_that_the_page_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z-]+)", PAGE)) <= targets


def test_each_recipe_begins_with_the_files_to_touch_in_order():
    recipes = re.findall(r"^### (.+)$", PAGE.partition("## Recipes")[2], re.M)
    assert recipes == RECIPES
    for text in PAGE.partition("## Recipes")[2].split("### ")[1:]:
        assert re.findall(r"^(\d)\. ", text, re.M) == [
            str(n) for n in range(1, len(re.findall(r"^\d\. ", text, re.M)) + 1)
        ]


def test_a_metric_needs_two_files_besides_its_dashboard():
    recipe = PAGE.partition("### A metric and its panel")[2].partition("### ")[0]
    steps = re.split(r"^\d\. ", recipe, flags=re.M)[1:]
    assert ["grafana/" in step for step in steps] == [False, False, True]
