"""The command blocks of README and docs, and where each is tested.

test_blocks.py runs each block of language `bash` unchanged. A block that needs containers has the line
`<!-- tried in containers -->` before it, and tests/compose runs it. A block with `<!-- a terminal each -->` holds one
long-running command per line. Other languages are not commands.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "bench" / "README.md"]
CONTAINERS, TERMINALS = "<!-- tried in containers -->", "<!-- a terminal each -->"
_BLOCK = re.compile(r"^(?P<before>[^\n]*\n\n?)```bash\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Commands on a page, from `line` on."""

    page: str
    line: int
    text: str
    containers: bool
    terminals: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """All command blocks, in order."""
    result = []
    for page in PAGES:
        content = page.read_text()
        for match in _BLOCK.finditer(content):
            line = content.count("\n", 0, match.start("text"))
            where = (CONTAINERS in match["before"], TERMINALS in match["before"])
            result.append(Block(str(page.relative_to(ROOT)), line, match["text"], *where))
    return result
