"""What every long-running program sets up: settings from the environment, the log, and an event that signals set."""

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
            raise UserError(f"{there_is_no('variable', name, known)} All variables: docs/settings.md. {hint}".strip())
    try:
        return kind(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as exc:
        raise UserError(
            f"A setting (an EMBRYOFL_ environment variable or an option) cannot be used: {explain(exc)}. {hint}".strip()
        ) from exc


def set_up_logging() -> None:
    """Log to standard error; libraries only from warnings on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for library in ("httpx", "httpcore", "flwr"):
        logging.getLogger(library).setLevel(logging.WARNING)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
