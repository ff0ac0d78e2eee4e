"""`embryofl-clinic`: the command line."""

from embryofl_clinic.cli.commands import main

__all__ = ["main"]
