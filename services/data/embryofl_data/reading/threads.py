"""Work on many files in a few threads, which suffice: decoders are processes, and hashlib releases the lock."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from embryofl_data.reading import sandbox

Result = TypeVar("Result")


def in_threads(jobs: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Results in the order of the jobs; few wait to be read, so that memory does not grow with the number of files."""
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="files") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
    sandbox.trim()
