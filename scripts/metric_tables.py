"""Write the tables of metrics in docs/ from each exporter's metrics.toml; with --check, only check that they are up to date.

A table begins after a line <!-- metrics: FILE --> and ends at the next empty line."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"(<!-- metrics: (\S+) -->\n)((?:\|.*\n)*)")


def table(source: str) -> str:
    """The table of one metrics.toml."""
    metrics = tomllib.loads((ROOT / source).read_text())
    rows = [f"| `{name}` | {', '.join(labels)} | {text} |\n" for name, (text, *labels) in metrics.items()]
    return "".join(["| metric | labels | meaning |\n", "|---|---|---|\n", *rows])


def main() -> int:
    """Write, or check."""
    stale = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text()
        fresh = PLACE.sub(lambda m: m[1] + table(m[2]), text)
        if fresh != text:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(fresh)
    if "--check" in sys.argv and stale:
        print(f"out of date: {', '.join(stale)}. Run: python scripts/metric_tables.py")
    return int("--check" in sys.argv and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
