"""Free memory goes back to the system when a round has closed.

The buffers of many uploads at once would else stay in the heap while the new model is made, and the hub would need more
memory for 30 clinics than for 3. A lower threshold for `mmap` does the same at half as much processor time again for an
upload (`bench/compare.sh big`).
"""

import contextlib
import ctypes


def trim_heap() -> None:
    """Ask the C library to return what is free; where it cannot (no glibc), nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
