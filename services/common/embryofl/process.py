"""What every long-running program sets up: settings from the environment, the log, signals, and how malloc keeps memory."""

import ctypes
import logging
import os
import signal
import threading
from collections.abc import Mapping
from importlib import resources
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from embryofl.errors import UserError
from embryofl.schema import explain, there_is_no

Settings = TypeVar("Settings", bound=BaseModel)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def read_settings(kind: type[Settings], options: Mapping[str, object], hint: str = "") -> Settings:
    """Settings from the environment; `options` of the command line that are not None take precedence.

    Raises
    ------
    UserError
        When one cannot be used, or when an ``EMBRYOFL_`` variable is not in environment.txt, such as a misspelt one;
        `hint` is added to its text.
    """
    known = resources.files("embryofl").joinpath("environment.txt").read_text().split()
    for name in os.environ:
        if name.startswith("EMBRYOFL_") and name not in known:
            raise UserError(
                "S7", f"{there_is_no('variable', name, known)} All variables: docs/settings.md. {hint}".strip()
            )
    try:
        return kind(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as exc:
        raise UserError(
            "S7",
            f"A setting (an EMBRYOFL_ environment variable or an option) cannot be used: {explain(exc)}. {hint}".strip(),
        ) from exc


def set_up_logging() -> None:
    """Log to standard error; libraries only from warnings on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for library in ("httpx", "httpcore", "flwr"):
        logging.getLogger(library).setLevel(logging.WARNING)


def keep_freed_memory() -> None:
    """Let malloc keep up to 1 GiB that PyTorch frees. By default glibc returns every large buffer to the kernel, and the
    page faults of the next batch take up to a third of a round. Another C library is left as it is."""
    for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)(option, 1 << 30)


def release_freed_memory() -> None:
    """Return to the kernel what `keep_freed_memory` has kept; takes some tenths of a second."""
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
