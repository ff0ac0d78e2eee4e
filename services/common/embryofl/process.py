"""What every long-running program sets up: settings from the environment, the log, and an event that signals set."""

import logging
import signal
import threading
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from embryofl.errors import UserError
from embryofl.schema import explain

Settings = TypeVar("Settings", bound=BaseModel)


def read_settings(kind: type[Settings], options: Mapping[str, object], hint: str = "") -> Settings:
    """Settings from the environment; `options` of the command line that are not None take precedence.

    Raises
    ------
    UserError
        When one cannot be used; `hint` is added to its text.
    """
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
