"""Progress of a job on standard error: a bar for a person at a terminal, plain lines for a log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, TextColumn, TransferSpeedColumn

OnProgress = Callable[[int, int], object]
"""Takes (done, total)."""
OnStep = Callable[[str, int, int], object]
"""Takes (step, done, total)."""


def no_progress(*_: object) -> None:
    """Show nothing."""


class ProgressPrinter:
    """Messages and progress on one stream, standard error by default."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream

    def line(self, text: str) -> None:
        """Print one line."""
        print(text, file=self.stream, flush=True)

    @contextmanager
    def receiving(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show bytes as they arrive, `total` being -1 where it is unknown; nothing in a log."""
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with self._bar(what, total if total >= 0 else None, *columns) as on_step:
            yield on_step

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Count images up to `total`; call what is yielded with the number done since the last call."""
        done = 0

        def advance(step: int) -> None:
            nonlocal done
            on_step(step)
            earlier, done = done, done + step
            if 4 * done // total > 4 * earlier // total and not self.stream.isatty():
                self.line(f"{what}: {done} of {total} images")

        with self._bar(what, total) as on_step:
            yield advance

    @contextmanager
    def _bar(self, what: str, total: int | None, *columns: ProgressColumn) -> Iterator[Callable[[int], None]]:
        terminal = self.stream.isatty()
        with Progress(*columns, console=Console(file=self.stream), transient=True, disable=not terminal) as bar:
            task = bar.add_task(what, total=total)
            yield lambda step: bar.update(task, advance=step)
