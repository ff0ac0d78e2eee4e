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


class ProtocolError(UserError):
    """A message or a step that secure aggregation (`embryofl.secagg`) does not allow.

    Attributes
    ----------
    clinic : str (default: "")
        The clinic whose message it is; "" if it is the hub's, or if the message does not show whose it is.
    """

    def __init__(self, text: str, clinic: str = "") -> None:
        super().__init__(text)
        self.clinic = clinic


class TooFewClinicsError(ProtocolError):
    """Fewer clinics than a step of secure aggregation needs: with more of them, the same step is allowed."""


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
