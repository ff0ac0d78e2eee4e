"""Errors whose text is meant for a person.

Every message says what happened, what was expected, and what to do. Command lines print the text of a `UserError` without a
traceback; any other exception is a defect of EmbryoFL.
"""

import signal
import sys
from collections.abc import Callable

from embryofl import exits


class UserError(Exception):
    """Something the user can fix; the text says how."""


class NotFiniteError(UserError):
    """Training or a model produced numbers that are not finite. The hub recognises this failure by its name."""


class DataError(UserError):
    """A data folder that cannot be used as it is."""


def run_command(command: Callable[[], object]) -> None:
    """Run a command line; a `UserError` is printed as its text, SIGTERM interrupts as Ctrl-C does. Exit codes: see
    `embryofl.exits`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        command()
    except UserError as exc:
        print(exc, file=sys.stderr)
        sys.exit(exits.USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)
