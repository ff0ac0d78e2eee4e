"""Decoders of the tests' own, in workers of the sandbox."""

import contextlib
import os
from pathlib import Path

import pytest

from embryofl_data.reading import sandbox

NO_LOCK = contextlib.nullcontext()
TESTS = str(Path(__file__).parents[2])


@pytest.fixture
def ask(monkeypatch):
    """`ask(function, data, large)`: what a function of the kits replies from a worker."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("EMBRYOFL_CONTROL_TOKEN", "secret")
    yield lambda function, data=b"", large=NO_LOCK: sandbox.call(function, data, large)
    for module in [name for name in sandbox._idle if name.startswith("kits.")]:
        for worker in sandbox._idle.pop(module):
            worker.end()
