"""Texts that a package's pages show: its `texts.toml`, where all of them can be read, changed and translated."""

import html
import tomllib
from functools import cache
from importlib import resources
from typing import Any


class Texts(dict[str, Any]):
    """Texts by key, also as attributes: `texts.home.title`. What is in {braces} is filled with `str.format`.

    A table of the file is `Texts` again and a list a tuple. A key may not be named as a method of `dict`.
    """

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"There is no text {key!r}. Expected one of: {', '.join(self)}.") from None


@cache
def load_texts(package: str) -> Texts:
    """The texts in `texts.toml` next to a package's modules."""
    return _texts(tomllib.loads(resources.files(package).joinpath("texts.toml").read_text("utf-8")))


def _texts(table: dict[str, Any]) -> Texts:
    return Texts(
        (key, _texts(value) if isinstance(value, dict) else tuple(value) if isinstance(value, list) else value)
        for key, value in table.items()
    )


def size(count: float) -> str:
    """Bytes to be read: `13.2 MB`, in powers of 1000 and three digits."""
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= of:
            return f"{count / of:.3g} {unit}" if count < 1000 * of else f"{count / of:.0f} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """A length of time to be read: `2.5 s`, `90 s`, `5 min` or `2.5 h`."""
    if seconds < 120:
        return f"{max(0.0, seconds):.{0 if seconds >= 9.5 else 1}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def escape(value: object) -> str:
    """Text for HTML, also within attributes and templates that fill in ${...} or {{...}}."""
    return html.escape(str(value), quote=True).replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;")
