"""Measure many files on a few processes: in order, in bounded memory, and to the end whatever a file does.

Each file is read, decoded and measured in a worker process. If a file kills its worker (a decoder that crashes, too
little memory), the worker is replaced, the file is reported as unreadable, and the rest continues. So does it after a
file that takes too long. One bad file never ends the report.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from itertools import chain
from multiprocessing.synchronize import Lock
from pathlib import Path
from types import FrameType

from threadpoolctl import threadpool_limits

from embryofl_data.report.measure import NO_LOCK, Measured, measure_file

CHUNK = 8
"""Files a task: enough that handing them over costs little, few enough that a progress bar moves."""
FILE_TIMEOUT_S = 60.0
"""An image of 50 million pixels takes a few seconds."""
MOST_WORKERS = 4

Chunks = deque[tuple[str, ...]]

_large: AbstractContextManager[object] = NO_LOCK


def measure_files(root: Path, files: Sequence[str]) -> Iterator[Measured]:
    """Measure files of a data folder, one result for each in the given order."""
    waiting: Chunks = deque(tuple(files[start : start + CHUNK]) for start in range(0, len(files), CHUNK))
    workers = min(MOST_WORKERS, len(os.sched_getaffinity(0)), max(1, len(waiting)))
    while waiting:
        lost = yield from _run(root, waiting, workers)
        for file in chain.from_iterable(lost):  # one by one, which shows the file that killed its worker
            if (yield from _run(root, deque([(file,)]), 1)):
                yield Measured.not_read(file, "reading it crashed the process (a damaged file, or too little memory)")


def _run(root: Path, waiting: Chunks, workers: int) -> Generator[Measured, None, Chunks]:
    """Work off `waiting`. Returns the chunks that were under way when a worker died, none at the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["embryofl_data.report.measure"])
    under_way: deque[tuple[tuple[str, ...], Future[list[Measured]]]] = deque()
    with ProcessPoolExecutor(workers, context, _begin, (context.Lock(),)) as pool:
        try:
            while waiting or under_way:
                while waiting and len(under_way) < 3 * workers:
                    chunk = waiting.popleft()
                    under_way.append((chunk, pool.submit(_measure, root, chunk)))
                measured = under_way[0][1].result()
                under_way.popleft()
                yield from measured
        except BrokenProcessPool:
            return deque(chunk for chunk, _ in under_way)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return deque()


def _begin(large: Lock) -> None:
    """Set up a worker: one thread, so that workers do not compete for cores; Ctrl-C is handled by the parent."""
    global _large  # noqa: PLW0603 - a worker's own copy
    _large = large
    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _too_long)


class _TooLong(BaseException):  # passes through the decoder's own `except Exception`
    pass


def _too_long(signum: int, frame: FrameType | None) -> None:
    raise _TooLong


def _measure(root: Path, files: tuple[str, ...]) -> list[Measured]:
    measured = []
    for file in files:
        try:
            signal.setitimer(signal.ITIMER_REAL, FILE_TIMEOUT_S)
            measured.append(measure_file(root, file, _large))
        except _TooLong:
            measured.append(Measured.not_read(file, f"reading it took longer than {FILE_TIMEOUT_S:.0f} s"))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return measured
