"""Helpers that tests of several folders share, and the programs that tests start."""

from pathlib import Path

KITS = Path(__file__).parent
