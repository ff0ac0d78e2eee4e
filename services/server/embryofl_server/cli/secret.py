"""Ask for the secret of a backup: never an argument or an environment variable, which other processes can read."""

import sys

import typer

_LONGEST = 1000


def ask_secret(*, new: bool) -> str:
    """The passphrase or private key of a backup. Without a terminal it is the first line of standard input that is no
    comment (#), as in a file of `age-keygen`; the rest is not read.

    Parameters
    ----------
    new : bool
        Whether it is a new passphrase, which has to be typed twice.
    """
    if sys.stdin.isatty():
        text = "Passphrase of the backup" if new else "Passphrase or private key of the backup"
        return str(typer.prompt(text, hide_input=True, confirmation_prompt=new, err=True))
    while (line := sys.stdin.buffer.readline(_LONGEST)).startswith(b"#"):
        pass
    return line.decode(errors="replace").strip()
