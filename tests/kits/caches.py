"""Opens a cache in another process: what a spawned process runs has to be importable."""

from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np

from embryofl_data.cache import open_cache


def open_in_process(root: Path, files: list[str], cache_dir: Path, size: int, queue: Queue) -> None:
    """Put the number of decoded files and the bytes of all pixels into the queue."""
    cache = open_cache(root, files, cache_dir, size)
    queue.put((cache.decoded, np.array(cache.pixels).tobytes()))
