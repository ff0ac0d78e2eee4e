"""Errors whose text is meant for a person.

Every message says what was found, what was expected, and what to do, in that order. Command lines print the text of a
`UserError` without a traceback; anything else is a defect of ours.
"""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can put right; the text says how."""


class NotFiniteError(UserError):
    """Training or a model gave numbers that are not finite. The hub knows this kind of failure by its name."""


class DataError(UserError):
    """A data folder that cannot be used as it is."""


def run_command(command: Callable[[], object]) -> None:
    """Run a command line; a `UserError` is printed as its text and ends the process with exit code 2."""
    try:
        command()
    except UserError as exc:
        print(exc, file=sys.stderr)
        sys.exit(2)
