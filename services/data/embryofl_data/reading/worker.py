"""The process that decodes files of others: `python -m embryofl_data.reading.worker MODULE MEMORY_BYTES CPU_SECONDS`.

It loads the module with the decoder, then gives up everything else, for good: after `confine` it can read its standard
input, write to its standard output, compute and end. It opens no file and no connection, starts and signals no process,
and has bounded memory and CPU time. It takes files one by one from its standard input (`sandbox.call`).
"""

import ctypes
import importlib
import os
import platform
import resource
import signal
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from embryofl_data.reading.sandbox import LARGE, DecodeError, receive, send

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _FAIL_WITH_EPERM, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of `_CALLS`, and Linux's number of the architecture (AUDIT_ARCH_*)."""
_CALLS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getrusage": (98, 165),
    "gettimeofday": (96, 169),
    "clock_gettime": (228, 113),
    "getrandom": (318, 278),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""All that Linux does for a worker, by its number on each architecture: memory, the pipes, the clock, the end."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def main() -> None:
    """Load, confine, work until standard input ends."""
    module, memory_bytes, cpu_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    decoder = importlib.import_module(module)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end ends this process
    requests, replies = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):  # what a library prints
        os.dup2(nothing, output)
    confine(memory_bytes, cpu_s)
    send(replies, {})
    while frame := receive(requests, sys.maxsize, sys.maxsize):
        facts, data = frame
        try:
            result, pixels = getattr(decoder, facts["call"])(data, _large(requests, replies))
        except DecodeError as error:
            result, pixels = {"kind": error.kind, "detail": error.detail}, b""
        send(replies, {**result, "cpu_s": time.process_time()}, pixels)


@contextmanager
def _large(requests: IO[bytes], replies: IO[bytes]) -> Iterator[None]:
    """Ask the parent, which holds its lock until this file's reply."""
    send(replies, LARGE)
    receive(requests, sys.maxsize, sys.maxsize)
    yield


def confine(memory_bytes: int, cpu_s: int) -> None:
    """Give up all rights of this process but to compute within these limits and to use what is open.

    Raises
    ------
    OSError
        When the kernel does not filter system calls.
    """
    limits = {resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_CORE: 0}
    # No number is left for another file or connection, whatever is closed; no byte can be added to a file.
    limits |= {resource.RLIMIT_NOFILE: 0, resource.RLIMIT_FSIZE: 0}
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))  # the first one has a signal of its own
    if platform.machine() not in _ARCHITECTURES:
        return
    column, architecture = _ARCHITECTURES[platform.machine()]
    program = _filter([numbers[column] for numbers in _CALLS.values()], architecture)
    code = ctypes.create_string_buffer(program)
    libc = ctypes.CDLL(None, use_errno=True)
    pointer = ctypes.byref(_Program(len(program) // 8, ctypes.addressof(code)))
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, pointer, 0, 0)):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "the kernel does not confine the process that decodes images (seccomp)")


def _filter(calls: list[int], architecture: int) -> bytes:
    """Linux's filter program (BPF): these calls work, all others fail, and another architecture's end the process."""
    lines = [(_LOAD, 0, 0, 4), (_JUMP_IF_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    lines += [(_JUMP_IF_EQUAL, len(calls) - at, 0, call) for at, call in enumerate(calls)]
    lines += [(_RETURN, 0, 0, _FAIL_WITH_EPERM), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("<HBBI", *line) for line in lines)


if __name__ == "__main__":
    main()
