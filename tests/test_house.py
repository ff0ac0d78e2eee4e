"""The house's rules (docs/house.toml, docs/architecture.md) hold in the code. Each failure names file and line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kits.house import MAP, ROOT, SERVICES, circle, floor_entry, folder_of, imports, modules

MOST_LINES, MOST_ENTRIES = 350, 12
MIRRORS = {  # the folders of tests that mirror a package; the others start programs or check pages
    "common": "embryofl",
    "data": "embryofl_data",
    "server": "embryofl_server",
    "clinic": "embryofl_clinic",
    "console": "embryofl_console",
    "web": "embryofl_web",
    "datagen": "embryofl_datagen",
    "demo": "embryofl_demo",
    "tunnel": "embryofl_tunnel",
}


def entries(folder: Path) -> set[str]:
    """The folders and modules in a package's folder, without suffixes."""
    return {p.stem for p in folder.iterdir() if p.suffix == ".py" or p.is_dir() and p.name != "__pycache__"}


def test_no_modules_import_each_other_in_a_circle():
    assert circle() == [], " -> ".join(circle())


def test_packages_import_only_what_the_map_allows():
    wrong = [
        f"{arrow.place}: {arrow.source} imports {arrow.target}"
        for arrow in imports()
        if arrow.target.split(".")[0] in MAP["packages"]
        and arrow.target.split(".")[0] not in [arrow.source.split(".")[0], *MAP["packages"][arrow.source.split(".")[0]]]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", MAP["floors"])
def test_arrows_run_down_only(package):
    floors = {name: number for number, floor in enumerate(MAP["floors"][package]) for name in floor}
    wrong = []
    for arrow in imports():
        source, target = floor_entry(arrow.source), floor_entry(arrow.target)
        inside = arrow.source.startswith(f"{package}.") and arrow.target.startswith(f"{package}.")
        if inside and source != target and {source, target} <= set(floors) and floors[source] >= floors[target]:
            wrong.append(f"{arrow.place}: {source} imports {target}, which is not below it")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", ["embryofl_server", "embryofl_clinic"])
def test_the_map_names_every_folder_and_module_at_the_root(package):
    named = {name for floor in MAP["floors"][package] for name in floor}
    assert named == entries(folder_of(package)) - {"__init__"}


def test_the_servers_root_is_small():
    assert len(entries(folder_of("embryofl_server"))) <= MOST_ENTRIES


def test_every_module_reads_in_one_sitting():
    lengths = {path: len(path.read_text().splitlines()) for path in SERVICES.rglob("*.py")}
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > MOST_LINES} == {}


def test_flwr_is_imported_only_where_the_map_says():
    files = {arrow.place.rpartition(":")[0] for arrow in imports() if arrow.target.split(".")[0] == "flwr"}
    assert files == {str(folder_of(p).relative_to(ROOT) / path) for p, paths in MAP["flwr"].items() for path in paths}


def test_imports_inside_functions_stay_in_command_lines():
    """Only commands may load late, so that `--help` is quick; every other module imports at its top."""
    wrong = [
        f"{arrow.place}: {arrow.target}"
        for arrow in imports()
        if arrow.in_function and "cli" not in arrow.source.split(".")
        if f"{arrow.source}: {arrow.target}" not in MAP["late_imports"]
    ]
    assert not wrong, "\n".join(wrong)


def test_every_allowed_late_import_still_exists():
    late = {f"{arrow.source}: {arrow.target}" for arrow in imports() if arrow.in_function}
    assert set(MAP["late_imports"]) - late == set()


@pytest.mark.parametrize("folder", MIRRORS)
def test_tests_mirror_the_packages(folder):
    tests, package = ROOT / "tests" / folder, folder_of(MIRRORS[folder])
    below = [path for path in tests.rglob("*") if path.is_dir() and path.name != "__pycache__"]
    assert [str(path) for path in below if not (package / path.relative_to(tests)).is_dir()] == []


def test_shared_test_helpers_are_imported_not_put_on_the_path():
    word = "sys.path" + ".insert"
    files = [path for folder in ("tests", "services") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if word in path.read_text()] == []


def test_no_check_is_switched_off_by_a_comment():
    word = "fmt: " + "skip"
    assert [str(path) for path in ROOT.glob("[!.]*/**/*.py") if word in path.read_text()] == []


def test_no_shell_script_pipes_into_a_quiet_grep():
    """`command | grep -q` under pipefail answers no whenever grep ends before the command has written everything."""
    scripts = [ROOT / ".ci/run", *ROOT.glob("[!.]*/**/*.sh")]
    wrong = [
        f"{p.relative_to(ROOT)}:{n}"
        for p in scripts
        for n, line in enumerate(p.read_text().splitlines(), 1)
        if re.search(r"\| *grep -[a-zA-Z]*q", line.partition(" # ")[0]) and not line.lstrip().startswith("#")
    ]
    assert wrong == []


def test_command_lines_load_neither_torch_nor_flwr():
    """So that --help, and every command that only talks to the hub, starts at once."""
    code = (
        "import sys, embryofl_server.cli, embryofl_clinic.cli\n"
        "print(sorted({'torch', 'flwr'} & {name.split('.')[0] for name in sys.modules}))"
    )
    path = os.pathsep.join([*(str(folder) for folder in SERVICES.iterdir()), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.strip() == "[]"


def test_the_map_covers_every_package():
    assert set(MAP["packages"]) == {name.split(".")[0] for name in modules()}
    assert {p.name for p in SERVICES.glob("*/embryofl*") if p.suffix != ".egg-info"} == set(MAP["packages"])


def test_the_picture_of_the_house_is_drawn_from_the_current_map_and_code():
    code = "import sys; sys.path[:0] = ['scripts']; import draw_house; sys.stdout.write(draw_house.picture())"
    drawn = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    stored = (ROOT / "docs" / "images" / "house.svg").read_text()
    assert drawn == stored, "docs/images/house.svg is out of date: python scripts/draw_house.py"


def test_every_room_and_box_of_the_picture_has_a_caption():
    boxes = {f"{package}.{name}" for package, floors in MAP["floors"].items() for floor in floors for name in floor}
    assert set(MAP["captions"]) == {*MAP["packages"], *boxes}
