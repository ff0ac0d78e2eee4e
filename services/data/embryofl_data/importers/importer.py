"""The one shape of all importers."""

from collections.abc import Callable
from dataclasses import dataclass

from embryofl_data.importers.plan import Options, Plan
from embryofl_data.importers.source import Source


@dataclass(frozen=True)
class Importer:
    """Reads one published layout.

    Attributes
    ----------
    name, title : str
        As on the command line, and in words.
    rules : tuple of str
        Rules that its facts can feed.
    usual_rule : str
        The rule that is used when none is named: only where the source itself states labels, else "".
    detect : callable
        Source to what gives the layout away, "" where it is another one.
    plan : callable
        Source and options to a plan. Raises `UserError`.
    convert : callable, optional
        Content of a file to that of the image to be written; without it files are copied as they are. Raises
        `DecodeError`.
    """

    name: str
    title: str
    rules: tuple[str, ...]
    usual_rule: str
    detect: Callable[[Source], str]
    plan: Callable[[Source, Options], Plan]
    convert: Callable[[bytes], bytes] | None = None
