"""The texts of page and scores (`texts.toml`), and what fills them: numbers, sizes, times."""

import time
import tomllib
from functools import cache
from importlib import resources
from typing import Any

Texts = dict[str, Any]


@cache
def texts() -> Texts:
    """All texts, by section and key."""
    return tomllib.loads(resources.files(__package__).joinpath("texts.toml").read_text("utf-8"))


def fill(text: str, **values: object) -> str:
    """Fill the braces of a text."""
    return text.format(**values)


def size(count: float) -> str:
    """`13.2 MB`, in powers of 1000; a whole number without its point."""
    for unit in ("", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.{0 if count == int(count) else 1}f} {unit or texts()['unit_bytes']}"


def local(seconds: float) -> str:
    """A time in this machine's zone; the page's script puts it into the browser's."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def iso(seconds: float) -> str:
    """The same for a machine."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
