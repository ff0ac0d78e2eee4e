"""Draw the map of the house, docs/images/house.svg: packages as rooms, and in each its folders and modules, floor by floor.

    python scripts/draw_house.py

Rooms, floors and captions are those of docs/house.toml. An arrow means "imports" and follows the code; an arrow that
follows from others is left out. Inside a room the layout is Sugiyama's: an arrow that passes floors gets a place on each
of them, every floor is ordered by the mean position of its neighbours, and then spread out.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from kits.house import MAP, floor_entry, folder_of, imports  # noqa: E402 - in the tests' folder

OUT = ROOT / "docs" / "images" / "house.svg"
WIDTH, HEIGHT = 1240, 1586
BOX, BOX_HEIGHT, GAP, LANE = (
    128,
    44,
    14,
    8,
)  # in pixels; BOX is the largest width of a box, LANE the width of an arrow's place
HEADER, MARGIN = 50, 14
ROOMS = {  # x, y, width, height, colour
    "embryofl_demo": (20, 20, 1200, 96, "#f4f1ea"),
    "embryofl_tunnel": (20, 156, 120, 1000, "#f3e9f7"),
    "embryofl_server": (155, 156, 310, 1000, "#e9f5e6"),
    "embryofl_console": (480, 156, 150, 610, "#f3e9f7"),
    "embryofl_clinic": (645, 156, 440, 610, "#e8f1fb"),
    "embryofl_datagen": (1100, 156, 120, 610, "#fdf1dc"),
    "embryofl_web": (480, 806, 190, 350, "#f3e9f7"),
    "embryofl_data": (685, 806, 535, 350, "#fdf1dc"),
    "embryofl": (20, 1196, 1200, 370, "#f4f1ea"),
}
BETWEEN = {  # x at which the arrow between two rooms runs
    ("embryofl_demo", "embryofl_tunnel"): 80,
    ("embryofl_demo", "embryofl_server"): 310,
    ("embryofl_demo", "embryofl_console"): 555,
    ("embryofl_demo", "embryofl_clinic"): 865,
    ("embryofl_demo", "embryofl_datagen"): 1160,
    ("embryofl_tunnel", "embryofl"): 80,
    ("embryofl_server", "embryofl"): 310,
    ("embryofl_console", "embryofl_web"): 555,
    ("embryofl_clinic", "embryofl_web"): 657,
    ("embryofl_clinic", "embryofl_data"): 865,
    ("embryofl_datagen", "embryofl_data"): 1160,
    ("embryofl_web", "embryofl"): 575,
    ("embryofl_data", "embryofl"): 950,
}


@dataclass(eq=False)
class Place:
    """A box on a floor, or (without a name) where an arrow passes it. `x` is its centre."""

    name: str
    width: float
    x: float = 0.0
    neighbours: "list[Place]" = field(default_factory=list)


def reduced(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows that do not follow from others."""

    def below(name: str) -> set[str]:
        under = {b for a, b in arrows if a == name}
        return under.union(*map(below, under))

    return {(a, b) for a, b in arrows if not any(b in below(c) for d, c in arrows if d == a and c != b)}


def arrows_in(package: str) -> set[tuple[str, str]]:
    """Which entry of a package's floors imports which, down only."""
    floors = floor_numbers(package)
    pairs = {
        (floor_entry(i.source), floor_entry(i.target))
        for i in imports()
        if i.source.startswith(f"{package}.") and i.target.startswith(f"{package}.")
    }
    return reduced({(a, b) for a, b in pairs if a in floors and b in floors and floors[a] < floors[b]})


def floor_numbers(package: str) -> dict[str, int]:
    """The floor of each entry of a package, counted from the top."""
    return {name: number for number, floor in enumerate(MAP["floors"].get(package, [])) for name in floor}


def entries_of(package: str) -> set[str]:
    """The folders (with a slash) and modules at a package's root, except those on its floors."""
    entries = {p.name + "/" for p in folder_of(package).iterdir() if (p / "__init__.py").exists()}
    entries |= {p.name for p in folder_of(package).glob("*.py") if p.name != "__init__.py"}
    return {name for name in entries if name.removesuffix("/").removesuffix(".py") not in floor_numbers(package)}


def spread(floor: list[Place], low: float, high: float) -> None:
    """Move each place towards its neighbours' mean, in the floor's order and without overlap."""
    for place in floor:
        if place.neighbours:
            place.x = sum(n.x for n in place.neighbours) / len(place.neighbours)
    for _ in range(30):
        for left, right in zip(floor, floor[1:], strict=False):
            overlap = left.x + (left.width + right.width) / 2 + GAP - right.x
            if overlap > 0:
                left.x, right.x = left.x - overlap / 2, right.x + overlap / 2
        for place in floor:
            place.x = min(max(place.x, low + place.width / 2), high - place.width / 2)


def lay_out(package: str) -> tuple[list[list[Place]], list[list[Place]]]:
    """The floors of a room, and its arrows as the places that each passes, from its source to its target."""
    x, _, width, _, _ = ROOMS[package]
    low, high = x + MARGIN, x + width - MARGIN
    numbers = floor_numbers(package)
    most = max((len(floor) for floor in MAP["floors"].get(package, [])), default=1)
    box = min(BOX, (high - low - (most - 1) * GAP) / most)
    floors = [[Place(name, box) for name in floor] for floor in MAP["floors"].get(package, [])]
    boxes = {place.name: place for floor in floors for place in floor}
    paths = []
    for source, target in sorted(arrows_in(package)):
        path = [boxes[source]]
        for number in range(numbers[source] + 1, numbers[target]):
            path.append(Place("", LANE))
            floors[number].append(path[-1])
        path.append(boxes[target])
        for above, below in zip(path, path[1:], strict=False):
            above.neighbours.append(below)
            below.neighbours.append(above)
        paths.append(path)
    for place in (p for floor in floors for p in floor):
        place.x = (low + high) / 2
    for _ in range(40):
        for floor in (*floors, *reversed(floors)):
            if all(place.neighbours for place in floor):
                floor.sort(key=lambda p: sum(n.x for n in p.neighbours) / len(p.neighbours))
            spread(floor, low, high)
    everywhere = [place for floor in floors for place in floor]
    edges = [p.x - p.width / 2 for p in everywhere] + [p.x + p.width / 2 for p in everywhere] or [0]
    shift = (low + high - min(edges) - max(edges)) / 2
    for place in everywhere:
        place.x += shift
    return floors, paths


def curve(points: list[tuple[float, float]]) -> str:
    """A smooth line through points, upright at each."""
    parts = [f"M{points[0][0]:.0f},{points[0][1]:.0f}"]
    for (x1, y1), (x2, y2) in zip(points, points[1:], strict=False):
        middle = (y1 + y2) / 2
        parts.append(f"C{x1:.0f},{middle:.0f} {x2:.0f},{middle:.0f} {x2:.0f},{y2:.0f}")
    return f'<path d="{" ".join(parts)}" fill="none" stroke="#667" stroke-width="1.3" marker-end="url(#tip)"/>'


def lines_of(caption: str, width: int) -> list[str]:
    """A caption broken into lines of at most `width` characters."""
    lines = [""]
    for word in caption.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def room(package: str) -> Iterable[str]:
    """A room with its contents."""
    x, y, width, height, colour = ROOMS[package]
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="10" fill="{colour}" stroke="#99a"/>'
    yield f'<text x="{x + MARGIN}" y="{y + 22}" font-size="13" font-weight="bold">{package}</text>'
    for number, line in enumerate(lines_of(MAP["captions"][package], width // 6)):
        yield f'<text x="{x + MARGIN}" y="{y + 38 + 14 * number}" font-size="11" fill="#445">{escape(line)}</text>'
    others = sorted(entries_of(package))
    columns = max(1, width // 150) if not MAP["floors"].get(package) else 1
    for number, name in enumerate(others):
        across, down = x + MARGIN + 150 * (number % columns), y + HEADER + 16 + 17 * (number // columns)
        yield f'<text x="{across}" y="{down}" font-size="12" fill="#223">{name}</text>'
    floors, paths = lay_out(package)
    pitch = (height - HEADER - MARGIN) / max(len(floors), 1)
    tops = {id(p): y + HEADER + n * pitch + (pitch - BOX_HEIGHT) / 2 for n, floor in enumerate(floors) for p in floor}
    for path in paths:
        points = [(path[0].x, tops[id(path[0])] + BOX_HEIGHT)]
        for place in path[1:-1]:
            points += [(place.x, tops[id(place)]), (place.x, tops[id(place)] + BOX_HEIGHT)]
        yield curve([*points, (path[-1].x, tops[id(path[-1])] - 2)])
    for place in (p for floor in floors for p in floor if p.name):
        left, top, is_folder = place.x - place.width / 2, tops[id(place)], (folder_of(package) / place.name).is_dir()
        yield f'<rect x="{left:.0f}" y="{top:.0f}" width="{place.width:.0f}" height="{BOX_HEIGHT}" rx="5" fill="white" stroke="#667"/>'
        title = f"{place.name}/" if is_folder else f"{place.name}.py"
        yield f'<text x="{place.x:.0f}" y="{top + 15:.0f}" font-size="12" text-anchor="middle" font-weight="bold">{title}</text>'
        for number, line in enumerate(lines_of(MAP["captions"].get(f"{package}.{place.name}", ""), 22)):
            yield f'<text x="{place.x:.0f}" y="{top + 27 + 11 * number:.0f}" font-size="9.5" text-anchor="middle" fill="#445">{escape(line)}</text>'


def picture() -> str:
    """The SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" role="img">',
        "<title>The packages as rooms, one above the other, with their folders and modules; imports go down only</title>",
        '<defs><marker id="tip" markerWidth="7" markerHeight="7" refX="6" refY="3.5" orient="auto">'
        '<path d="M0,0 L7,3.5 L0,7 z" fill="#667"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    pairs = {(a, b) for a, below in MAP["packages"].items() for b in below}
    for a, b in sorted(reduced(pairs)):
        across = BETWEEN[a, b]
        parts.append(curve([(across, ROOMS[a][1] + ROOMS[a][3]), (across, ROOMS[b][1] - 2)]))
    for package in MAP["packages"]:
        parts.extend(room(package))
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    OUT.write_text(picture())
