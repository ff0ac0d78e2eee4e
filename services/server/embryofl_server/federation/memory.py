"""Returning free memory to the system when a round has closed.

Otherwise the buffers of many uploads at once stay in the heap during aggregation, and the hub needs more memory for 30
clinics than for 3. A lower threshold for `mmap` has the same effect, but uploads then take half as much processor time
again (`bench/compare.sh big`).
"""

import contextlib
import ctypes


def trim_heap() -> None:
    """Ask the C library to return free memory; does nothing without glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
