"""The documentation tests use the federation tests' helpers."""

import sys
from pathlib import Path

for folder in ("docs", "federation"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))
