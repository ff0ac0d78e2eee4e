"""Decode files of others in processes that can do nothing else: see `embryofl_data.reading.worker`.

A worker is started when it is first needed, and then takes one file after another: a file costs a copy through a pipe,
not a process. Whatever a file does to its worker, it cannot do more to this process than send bytes, which are read as
JSON and pixels, and checked. A worker that dies or breaks the protocol is replaced, and only its file is not read.
"""

import contextlib
import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import IO, Any

MEMORY_BYTES = 2 * 2**30
"""Address space of a worker: the largest image that is read needs less than half."""
CPU_S = 60
"""Of a file; an image of 50 million pixels takes a few seconds. A worker gets twice that and is replaced after half."""
WALL_S = 600
"""Of a file, by the clock: a worker that waits takes no CPU time. Ten times as much, because machines are busy."""
MAX_FACTS = 2**20
MAX_PIXEL_BYTES = 2**30
FRAME = struct.Struct("<IQ")
"""Lengths of the JSON and of the bytes that follow."""
LARGE = {"large": True}
"""What a worker sends, and then waits for an answer, before it decodes a large image."""
_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
"""Environment variables of a worker: none of them is a secret."""

Facts = dict[str, Any]
Reply = tuple[Facts, bytes]
"""Facts for JSON, and bytes."""
Decoder = Callable[[bytes, AbstractContextManager[object]], Reply]


class DecodeError(Exception):
    """An image that cannot be used; `kind` is one of `contract.PROBLEM_KINDS`."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail


class _Lost(Exception):
    """The worker has ended, or sent what it should not."""


class _Worker:
    def __init__(self, module: str) -> None:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        limits = (str(MEMORY_BYTES), str(2 * CPU_S))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "embryofl_data.reading.worker", module, *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdin and self.process.stdout
        self._in, self._out = self.process.stdin, self.process.stdout
        self.overdue, self._deadline, self._ended = False, math.inf, threading.Event()
        try:
            self.receive()
        except _Lost as error:
            self.end()
            raise RuntimeError(
                f"The process that decodes images did not start ({error}). Its reason is printed above."
            ) from error
        threading.Thread(target=self._watch, name="decoder-watch", daemon=True).start()

    def begin(self) -> None:
        """From now on it works on a file: it is killed if that takes `WALL_S`."""
        self._deadline = time.monotonic() + WALL_S

    def rest(self) -> None:
        """It waits for this process."""
        self._deadline = math.inf

    def _watch(self) -> None:
        while not self._ended.wait(min(self._deadline - time.monotonic(), WALL_S)):
            if time.monotonic() >= self._deadline:
                self.overdue = True
                self.process.kill()
                return

    def send(self, facts: Facts, data: bytes = b"") -> None:
        try:
            send(self._in, facts, data)
        except BrokenPipeError as error:
            raise _Lost from error

    def receive(self) -> Reply:
        try:
            frame = receive(self._out, MAX_FACTS, MAX_PIXEL_BYTES)
        except ValueError as error:
            raise _Lost(str(error)) from error
        if frame is None:
            raise _Lost("it has ended")
        return frame

    def end(self) -> int:
        self._ended.set()
        self.process.kill()
        self._out.close()
        with contextlib.suppress(BrokenPipeError):  # what was left to send: nobody reads it any more
            self._in.close()
        return self.process.wait()


def send(out: IO[bytes], facts: Facts, data: bytes = b"") -> None:
    """Write one frame."""
    head = json.dumps(facts).encode()
    out.write(FRAME.pack(len(head), len(data)) + head)
    out.write(data)
    out.flush()


def receive(source: IO[bytes], most_facts: int, most_data: int) -> Reply | None:
    """Read one frame; None at the end.

    Raises
    ------
    ValueError
        When it is too long, or not a frame.
    """
    head = source.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    of_facts, of_data = FRAME.unpack(head)
    if of_facts > most_facts or of_data > most_data:
        raise ValueError("a frame that is too long")
    text, data = source.read(of_facts), source.read(of_data)
    if len(text) < of_facts or len(data) < of_data:
        return None
    facts = json.loads(text)
    if not isinstance(facts, dict):
        raise ValueError("a frame without facts")
    return facts, data


_lock = threading.Lock()
_idle: defaultdict[str, list[_Worker]] = defaultdict(list)


def call(function: Decoder, data: bytes, large: AbstractContextManager[object]) -> Reply:
    """Let a worker run `function(data, large)`, which is known by its module and name there.

    `large` is held from the moment the function enters its own until the end of the call.

    Raises
    ------
    DecodeError
        As the function does; `unreadable` when the worker does not survive the file.
    RuntimeError
        When no worker can be started.
    """
    module = function.__module__
    with _lock:
        worker = _idle[module].pop() if _idle[module] else None
    worker = worker or _Worker(module)
    keep = False
    try:
        with ExitStack() as held:
            worker.begin()
            worker.send({"call": function.__name__}, data)
            facts, pixels = worker.receive()
            if facts == LARGE:
                worker.rest()
                held.enter_context(large)
                worker.begin()
                worker.send({})
                facts, pixels = worker.receive()
            worker.rest()
        keep = float(facts.pop("cpu_s", CPU_S)) < CPU_S
    except (_Lost, TypeError, ValueError) as error:
        lost = worker.end()
        limit = WALL_S if worker.overdue else CPU_S if lost == -signal.SIGXCPU else 0
        crashed = "decoding it crashed the decoder (a damaged file, or too little memory)"
        detail = f"decoding it took longer than {limit} s" if limit else crashed
        raise DecodeError("unreadable", detail) from error
    finally:
        if keep:
            with _lock:
                _idle[module].append(worker)
        else:
            worker.end()
    if "kind" in facts:
        raise DecodeError(str(facts["kind"]), str(facts.get("detail"))[:300])
    return facts, pixels


def trim() -> None:
    """End the workers that a job leaves behind, except one of each kind, so that the next single file need not wait."""
    with _lock:
        surplus = [worker for workers in _idle.values() for worker in workers[1:]]
        for workers in _idle.values():
            del workers[1:]
    for worker in surplus:
        worker.end()


def _forget() -> None:
    """In a process that was forked: the workers are the parent's."""
    global _lock  # noqa: PLW0603 - whoever held it is not in this process
    _lock = threading.Lock()
    _idle.clear()


os.register_at_fork(after_in_child=_forget)
