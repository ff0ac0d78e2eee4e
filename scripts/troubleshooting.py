"""Write docs/troubleshooting.md from troubles.toml; with --check, only check that it is up to date."""

import sys
from pathlib import Path

from embryofl.troubles import read_troubles

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
HEAD = """# Troubleshooting

Every error ends with a code, such as `(J2: docs/troubleshooting.md#j2)`: here are its cause and what to do. The letter is the area.
`make doctor` checks the hub's machine, `make status` and `make logs` show what is running, and at a clinic `embryofl-clinic status`
does. Without these pages, `embryofl-clinic explain J2` shows one entry; at the hub, `make hub DO="explain J2"`.
[Alerts](monitoring.md#alerts) and [exit codes](exit-codes.md) have their own pages. Words are explained in the [glossary](glossary.md).
"""


def page() -> str:
    """The whole page."""
    parts, (areas, troubles) = [HEAD], read_troubles()
    for letter, area in areas.items():
        own = {code: text for code, text in troubles.items() if code[0] == letter}
        titles = {code: text.partition("\n")[0].strip("*") for code, text in own.items()}
        index = "".join(f"| [{code}](#{code.lower()}) | {title} |\n" for code, title in titles.items())
        parts.append(f"\n## {area}\n\n| code | trouble |\n|---|---|\n{index}")
        parts += [f"\n### {code}\n\n{text}" for code, text in own.items()]
    return "".join(parts)


def main() -> int:
    """Write, or check."""
    if "--check" not in sys.argv:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        print("docs/troubleshooting.md is out of date. Run: python scripts/troubleshooting.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
