"""What the job tells while it works: a bar for a person at a terminal, plain lines for a log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


class ProgressPrinter:
    """Messages on one stream, standard error by default."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream

    def line(self, text: str) -> None:
        """Say one line."""
        print(text, file=self.stream, flush=True)

    @contextmanager
    def receiving(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show bytes as they come, `total` being -1 where it is not known; nothing in a log."""
        if not self.stream.isatty():
            yield lambda step: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(file=self.stream), transient=True) as bar:
            task = bar.add_task(what, total=total if total >= 0 else None)
            yield lambda step: bar.update(task, advance=step)

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Count up to `total`; call what is yielded with the number done since the last call."""
        if self.stream.isatty():
            from rich.console import Console
            from rich.progress import Progress

            with Progress(console=Console(file=self.stream), transient=True) as bar:
                task = bar.add_task(what, total=total)
                yield lambda step: bar.update(task, advance=step)
            return
        done, told = 0, 0

        def advance(step: int) -> None:
            nonlocal done, told
            done += step
            if (quarter := 4 * done // total) > told:
                told = quarter
                self.line(f"{what}: {done} of {total} images")

        yield advance
