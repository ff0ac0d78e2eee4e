"""The packages below services/, read from their source: which module imports which, and where."""

import ast
import graphlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "services"
MAP = tomllib.loads((ROOT / "docs" / "house.toml").read_text())


@dataclass(frozen=True)
class Import:
    """One imported name: `target` is the module, or the package's module that the name is."""

    source: str
    target: str
    place: str  # file:line
    in_function: bool


def folder_of(package: str) -> Path:
    """The package's folder."""
    [folder] = SERVICES.glob(f"*/{package}")
    return folder


@cache
def modules() -> dict[str, Path]:
    """All modules of all packages: dotted name and file."""
    names = {}
    for package in MAP["packages"]:
        folder = folder_of(package)
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


@cache
def imports() -> tuple[Import, ...]:
    """Every import statement of every module, name by name."""
    return tuple(one for name, path in modules().items() for one in _imports_of(name, path))


def _imports_of(name: str, path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {id(node) for function in functions for node in ast.walk(function)}
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            targets = [f"{module}.{a.name}" if f"{module}.{a.name}" in modules() else module for a in node.names]
        else:
            continue
        place = f"{path.relative_to(ROOT)}:{node.lineno}"
        for target in dict.fromkeys(targets):
            yield Import(name, target, place, id(node) in late)


def floor_entry(module: str) -> str:
    """The folder or module right below the package's root that a module lies in; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def circle() -> list[str]:
    """Modules each of which imports the next, from one back to itself; empty if there are none."""
    arrows = {name: {i.target for i in imports() if i.source == name and i.target != name} for name in modules()}
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as exc:
        return list(reversed(exc.args[1]))
    return []
