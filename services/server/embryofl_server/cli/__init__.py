"""`embryofl-server`: the command line."""

from embryofl_server.cli.commands import main

__all__ = ["main"]
